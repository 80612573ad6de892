//! Owns what all actions need of a call: who calls, what it may do, and what it asks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Ec2;
use super::errors::{Answer, Ec2Error};
use super::params::Params;
use crate::account::{Choices, Settings};
use crate::calls::Call;
use crate::edge::Caller;
use crate::permissions::Request;
use crate::world::state::{State, later};
use crate::world::{Image, Instance, Snapshot, Tags};

/// One call on its way.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) ec2: &'a Ec2,
    pub(crate) caller: &'a Caller,
    pub(crate) action: &'a str,
    pub(crate) params: Params,
    pub(crate) now: Timestamp,
}

impl Context<'_> {
    pub(crate) fn settings(&self) -> &Settings {
        self.ec2.world.settings()
    }

    pub(crate) fn choices(&self) -> &Choices {
        &self.settings().choices
    }

    pub(crate) fn region(&self) -> &str {
        &self.caller.region
    }

    pub(crate) fn account(&self) -> &str {
        &self.caller.account
    }

    /// Refuses the call unless its caller may do the action on each of these.
    pub(crate) fn authorise(&self, on: impl IntoIterator<Item = Request>) -> Answer<()> {
        for request in on {
            if !self.grants(&request) {
                return Err(Ec2Error::unauthorised(&request.action, &request.resource));
            }
        }
        Ok(())
    }

    /// Refuses the call unless its caller may do the action on `*`: listings know no resource.
    pub(crate) fn authorise_listing(&self) -> Answer<()> {
        self.authorise([self.on("*")])
    }

    /// This call's action on `resource`.
    pub(crate) fn on(&self, resource: impl Into<String>) -> Request {
        let region = self.region().to_owned();
        Request::new(format!("ec2:{}", self.action), resource).with("aws:RequestedRegion", region)
    }

    /// This call's action on an image.
    pub(crate) fn on_image(&self, image: &Image) -> Request {
        self.on(image_arn(&image.region, &image.id)).resource_tags(&image.tags).with("ec2:Owner", &image.account)
    }

    /// This call's action on a snapshot.
    pub(crate) fn on_snapshot(&self, snapshot: &Snapshot) -> Request {
        self.on(snapshot_arn(&snapshot.region, &snapshot.id))
            .resource_tags(&snapshot.tags)
            .with("ec2:Owner", &snapshot.account)
    }

    /// This call's action on what it makes, which has no id yet.
    pub(crate) fn on_new(&self, kind: &str, tags: Option<&Tags>) -> Request {
        let request = self.on(format!("arn:aws:ec2:{}::{kind}/*", self.region()));
        match tags {
            Some(tags) => request.request_tags(tags),
            None => request,
        }
    }

    /// Whether the caller may do what is asked.
    pub(crate) fn grants(&self, request: &Request) -> bool {
        self.ec2.permissions.grants(self.caller, request)
    }

    /// Writes an implied action down and says whether the caller may do it.
    pub(crate) fn implied(&self, request: &Request) -> bool {
        let granted = self.grants(request);
        self.write_down(request, granted);
        granted
    }

    /// Writes an implied action down that comes with the call itself.
    pub(crate) fn implied_free(&self, action: &str, resource: &str) {
        self.write_down(&Request::new(action, resource), true);
    }

    fn write_down(&self, request: &Request, granted: bool) {
        let (service, action) = request.action.split_once(':').unwrap_or(("", &request.action));
        self.ec2.calls.push(Call {
            at: self.now,
            service: service.into(),
            action: action.into(),
            region: self.region().into(),
            account: self.account().into(),
            function: self.caller.function.clone(),
            implied_by: Some(self.action.into()),
            outcome: if granted { "ok".into() } else { "AccessDenied".into() },
            parameters: BTreeMap::from([("resource".to_owned(), request.resource.clone())]),
        });
    }

    /// Tags written by a creating call need `ec2:CreateTags` on what is created.
    pub(crate) fn authorise_tags(&self, specifications: &BTreeMap<String, Tags>) -> Answer<()> {
        for (kind, tags) in specifications.iter().filter(|(_, tags)| !tags.is_empty()) {
            let resource = match kind.as_str() {
                "image" | "snapshot" => format!("arn:aws:ec2:{}::{kind}/*", self.region()),
                other => format!("arn:aws:ec2:{}:{}:{other}/*", self.region(), self.account()),
            };
            let request =
                Request::new("ec2:CreateTags", resource).request_tags(tags).with("ec2:CreateAction", self.action);
            if !self.implied(&request) {
                return Err(Ec2Error::unauthorised(&request.action, &request.resource));
            }
        }
        Ok(())
    }

    /// Ends a dry run, which by now would have succeeded.
    pub(crate) fn end_dry_run(&self) -> Answer<()> {
        if self.params.flag("DryRun")? {
            return Err(Ec2Error::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set."));
        }
        Ok(())
    }

    /// When something that is made now becomes visible.
    pub(crate) fn visible_at(&self) -> Timestamp {
        let delay = i64::try_from(self.settings().consistency_delay_ms).unwrap_or(i64::MAX / 2);
        later(self.now, SignedDuration::from_millis(delay))
    }

    /// The image with this id that the caller sees in the Region of the call.
    pub(crate) fn image<'s>(&self, state: &'s State, id: &str) -> Answer<&'s Image> {
        self.image_in(state, id, self.region())
    }

    /// The image with this id that the caller sees in another Region.
    pub(crate) fn image_in<'s>(&self, state: &'s State, id: &str, region: &str) -> Answer<&'s Image> {
        check_id(id, "ami", "InvalidAMIID.Malformed")?;
        let found = state.images.get(id).filter(|image| image.region == region);
        if let Some(image) = found.filter(|image| image.visible_to(self.account(), self.now)) {
            return Ok(image);
        }
        let gone = state.gone_images.get(id);
        if gone.is_some_and(|gone| gone.account == self.account() && gone.region == region) {
            let code = &self.choices().deregistered_image_code;
            return Err(Ec2Error { code: code.clone(), ..Ec2Error::no_image(&[id]) });
        }
        Err(Ec2Error::no_image(&[id]))
    }

    /// The same, if the caller also owns it: only owners may change an image.
    pub(crate) fn own_image<'s>(&self, state: &'s State, id: &str) -> Answer<&'s Image> {
        let image = self.image(state, id)?;
        if image.account != self.account() {
            return Err(Ec2Error::new("AuthFailure", format!("Not authorized for image:{id}")));
        }
        Ok(image)
    }

    /// The snapshot with this id that the caller owns in the Region of the call.
    pub(crate) fn own_snapshot<'s>(&self, state: &'s State, id: &str) -> Answer<&'s Snapshot> {
        check_id(id, "snap", "InvalidSnapshotID.Malformed")?;
        let here =
            |snapshot: &&Snapshot| snapshot.region == self.region() && snapshot.visible_to(self.account(), self.now);
        let snapshot = state.snapshots.get(id).filter(here).ok_or_else(|| Ec2Error::no_snapshot(&[id]))?;
        if snapshot.account != self.account() {
            return Err(Ec2Error::new("AuthFailure", format!("Not authorized for snapshot:{id}")));
        }
        Ok(snapshot)
    }

    /// Whether an instance is the caller's, in the Region of the call, and can be seen.
    pub(crate) fn sees_instance(&self, instance: &Instance) -> bool {
        instance.account == self.account() && instance.region == self.region() && instance.visible_at <= self.now
    }

    /// The ARN of a key that the call names, or of the account's default key.
    pub(crate) fn key_arn(&self, given: Option<&str>) -> String {
        let (region, account) = (self.region(), self.account());
        match given {
            None => State::default_key(account, region),
            Some(arn) if arn.starts_with("arn:") => arn.into(),
            Some(alias) if alias.starts_with("alias/") => format!("arn:aws:kms:{region}:{account}:{alias}"),
            Some(id) => format!("arn:aws:kms:{region}:{account}:key/{id}"),
        }
    }
}

/// Refuses an id that does not look like one.
pub(crate) fn check_id(id: &str, prefix: &str, code: &str) -> Answer<()> {
    let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    let well_formed = digits.is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    if well_formed {
        return Ok(());
    }
    Err(Ec2Error::new(code, format!("Invalid id: \"{id}\" (expecting \"{prefix}-...\")")))
}

/// ARN of an image: without an account.
pub(crate) fn image_arn(region: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}::image/{id}")
}

/// ARN of a snapshot: without an account.
pub(crate) fn snapshot_arn(region: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}::snapshot/{id}")
}
