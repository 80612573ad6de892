//! Owns CopyImage.

use std::collections::BTreeMap;

use super::context::{Context, image_arn, snapshot_arn};
use super::create::{check_description, check_name, check_name_free, image_id, new_image, work};
use super::errors::{Answer, Ec2Error};
use super::regions;
use super::xml::Xml;
use crate::permissions::Request;
use crate::world::state::{State, Token, WorkKind};
use crate::world::{Image, Snapshot, Tags};

/// What a caller needs of the key of an encrypted copy.
const KEY_ACTIONS: &[&str] =
    &["CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptTo"];

/// What a caller needs of the key of an encrypted source.
const SOURCE_KEY_ACTIONS: &[&str] = &["CreateGrant", "Decrypt", "DescribeKey", "ReEncryptFrom"];

/// What goes wrong with a key.
const KEY_TROUBLE: &str = "Given key ID is not accessible";

pub(super) fn copy(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let name = params.required("Name")?;
    check_name(name)?;
    check_description(params.get("Description").unwrap_or_default())?;
    let source_region = params.required("SourceRegion")?;
    let limit = context.settings().quotas.tags_per_resource;
    let tags = params.tag_specifications(&["image", "snapshot"], limit)?;
    if params.get("KmsKeyId").is_some() && !params.flag("Encrypted")? {
        return Err(Ec2Error::combination("The parameter KmsKeyId requires the parameter Encrypted to be set."));
    }
    if !regions::is_enabled(context, state, source_region) {
        return Err(Ec2Error::new("InvalidRegion", format!("The region {source_region} is not valid or not enabled")));
    }
    // An answer to a token that was used before comes before everything that may have changed since.
    let token = token_key(context);
    if let Some(id) = used_token(context, state, token.as_ref())? {
        context.end_dry_run()?;
        return Ok(image_id(&id));
    }
    let source = context.image_in(state, params.required("SourceImageId")?, source_region)?.clone();
    let snapshots = source_snapshots(context, state, &source)?;
    authorise(context, &source, &snapshots, &tags)?;
    if source.state != "available" {
        let code = &context.choices().image_not_available_code;
        let message = format!("Image {} is not available for copy: its state is {}", source.id, source.state);
        return Err(Ec2Error::new(code, message));
    }
    if source.machine.root_device_type != "ebs" {
        return Err(Ec2Error::new("InvalidRequest", format!("Image {} is not backed by EBS", source.id)));
    }
    if !context.choices().copy_may_share_name {
        check_name_free(context, state, name)?;
    }
    check_concurrency(context, state)?;
    context.end_dry_run()?;
    let id = make(context, state, &source, &snapshots, &tags)?;
    if let Some(key) = token {
        state.tokens.insert(key, Token { parameters: fingerprint(context), result: id.clone() });
    }
    Ok(image_id(&id))
}

fn fingerprint(context: &Context<'_>) -> String {
    context.params.fingerprint(&["Action", "Version", "ClientToken", "DryRun"])
}

fn token_key(context: &Context<'_>) -> Option<[String; 4]> {
    let token = context.params.get("ClientToken").filter(|token| !token.is_empty())?;
    Some([context.account().into(), context.region().into(), context.action.into(), token.into()])
}

/// What the token of this call gave before. Shared with ExportImage.
pub(super) fn used_token(context: &Context<'_>, state: &State, key: Option<&[String; 4]>) -> Answer<Option<String>> {
    let Some(used) = key.and_then(|key| state.tokens.get(key)) else { return Ok(None) };
    if used.parameters != fingerprint(context) {
        let message = "The client token has been used with other request parameters".to_owned();
        return Err(Ec2Error::new("IdempotentParameterMismatch", message));
    }
    Ok(Some(used.result.clone()))
}

/// The token of this call as a key, and what to keep under it. Shared with ExportImage.
pub(super) fn token_of(context: &Context<'_>) -> (Option<[String; 4]>, String) {
    (token_key(context), fingerprint(context))
}

/// The snapshots behind the source, which must be the caller's or shared with it.
fn source_snapshots(context: &Context<'_>, state: &State, source: &Image) -> Answer<Vec<Snapshot>> {
    let mut snapshots = Vec::new();
    for device in &source.devices {
        let snapshot = state.snapshots.get(&device.snapshot_id);
        let snapshot = snapshot.ok_or_else(|| Ec2Error::no_snapshot(&[&device.snapshot_id]))?;
        if !snapshot.usable_by(context.account()) && !snapshot.volume_permissions.contains("all") {
            let message = "You do not have permission to access the storage of this ami";
            return Err(Ec2Error::new("InvalidRequest", message));
        }
        snapshots.push(snapshot.clone());
    }
    Ok(snapshots)
}

fn authorise(
    context: &Context<'_>,
    source: &Image,
    snapshots: &[Snapshot],
    tags: &BTreeMap<String, Tags>,
) -> Answer<()> {
    let on_source = context.on(image_arn(&source.region, &source.id)).resource_tags(&source.tags);
    let new_image = context.on_new("image", tags.get("image"));
    let new_snapshot = context.on_new("snapshot", tags.get("snapshot"));
    let own = [on_source, new_image, new_snapshot];
    let of_snapshots = snapshots
        .iter()
        .map(|snapshot| context.on(snapshot_arn(&snapshot.region, &snapshot.id)).resource_tags(&snapshot.tags));
    context.authorise(own.into_iter().chain(of_snapshots))?;
    context.authorise_tags(tags)
}

fn check_concurrency(context: &Context<'_>, state: &State) -> Answer<()> {
    let copying = |image: &&Image| {
        image.account == context.account()
            && image.region == context.region()
            && image.work.as_ref().is_some_and(|work| work.kind == WorkKind::Copy)
    };
    let limit = context.settings().quotas.concurrent_image_copies;
    if state.images.values().filter(copying).count() < limit {
        return Ok(());
    }
    let message = format!("Too many AMI copies in progress. The limit is {limit} copies per destination region");
    Err(Ec2Error::new(&context.choices().copy_over_limit_code, message))
}

fn make(
    context: &Context<'_>,
    state: &mut State,
    source: &Image,
    snapshots: &[Snapshot],
    tags: &BTreeMap<String, Tags>,
) -> Answer<String> {
    let params = &context.params;
    let bytes = snapshots.iter().map(|snapshot| snapshot.used_bytes).sum();
    let mut work = work(context, WorkKind::Copy, bytes, context.settings().copy_mib_per_second);
    let encrypts = params.flag("Encrypted")? || regions::encrypts_by_default(context, state);
    let id = state.new_id("ami");
    let mut made = Vec::new();
    for snapshot in snapshots {
        let key = key_of_copy(context, snapshot, encrypts);
        if let Some(key) = &key {
            // Trouble with a key comes late: the call succeeds and the copy fails.
            let usable = may_use_key(context, key, KEY_ACTIONS) && key_is_usable(context, state, key);
            work.fail = work.fail.take().or_else(|| (!usable).then(|| KEY_TROUBLE.into()));
        }
        if let Some(key) = &snapshot.kms_key_id {
            let usable = may_use_key(context, key, SOURCE_KEY_ACTIONS);
            work.fail = work.fail.take().or_else(|| (!usable).then(|| KEY_TROUBLE.into()));
        }
        made.push(copy_of(context, snapshot, &source.id, &id, state.new_id("snap"), key, tags));
    }
    for snapshot in snapshots {
        // CopyImage grants it: it is written down and never refused.
        context.implied_free("ec2:CopySnapshot", &snapshot_arn(&snapshot.region, &snapshot.id));
    }
    let mut devices = source.devices.clone();
    for (device, snapshot) in devices.iter_mut().zip(&made) {
        device.snapshot_id.clone_from(&snapshot.id);
        device.encrypted = snapshot.encrypted;
    }
    for mut snapshot in made {
        snapshot.work = Some(work.clone());
        state.snapshots.insert(snapshot.id.clone(), snapshot);
    }
    let mut image_tags = tags.get("image").cloned().unwrap_or_default();
    if params.flag("CopyImageTags")? && source.account == context.account() {
        for (key, value) in source.tags.iter().filter(|(key, _)| !key.starts_with("aws:")) {
            image_tags.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let kept = if context.choices().copy_keeps_description { source.description.as_str() } else { "" };
    let description = params.get("Description").unwrap_or(kept).to_owned();
    let image = Image {
        name: params.required("Name")?.into(),
        description,
        tags: image_tags,
        source_image: Some((source.id.clone(), source.region.clone())),
        machine: source.machine.clone(),
        devices,
        work: Some(work),
        ..new_image(context, id.clone())
    };
    state.images.insert(id.clone(), image);
    Ok(id)
}

/// The key of the copy of a snapshot; `None`: it is not encrypted.
fn key_of_copy(context: &Context<'_>, snapshot: &Snapshot, encrypts: bool) -> Option<String> {
    if !encrypts && !snapshot.encrypted {
        return None;
    }
    let given = context.params.get("KmsKeyId");
    let same_key = snapshot
        .kms_key_id
        .as_ref()
        .filter(|_| given.is_none() && snapshot.account == context.account() && snapshot.region == context.region());
    // A key lives in one Region, so an encrypted snapshot from elsewhere comes under the default key here.
    Some(same_key.cloned().unwrap_or_else(|| context.key_arn(given)))
}

/// Whether the caller may do all of this with the key; each action is written down. The key that EBS
/// takes by default is AWS's own: its policy lets everybody in the account use it through EC2.
pub(super) fn may_use_key(context: &Context<'_>, key: &str, actions: &[&str]) -> bool {
    if key == State::default_key(context.account(), context.region()) {
        return true;
    }
    let mut may = true;
    for action in actions {
        let request = Request::new(format!("kms:{action}"), key).with("kms:GrantIsForAWSResource", "true");
        may &= context.implied(&request);
    }
    may
}

/// Whether the key exists as far as the account file says, in the Region of the call.
pub(super) fn key_is_usable(context: &Context<'_>, state: &State, key: &str) -> bool {
    let here = key.split(':').nth(3) == Some(context.region());
    let keys = state.owner(context.account()).and_then(|owner| owner.kms_keys.as_ref());
    let listed = keys.is_none_or(|keys| {
        key == State::default_key(context.account(), context.region())
            || keys.iter().any(|listed| context.key_arn(Some(listed)) == key)
    });
    here && listed
}

fn copy_of(
    context: &Context<'_>,
    snapshot: &Snapshot,
    source_image: &str,
    image: &str,
    id: String,
    key: Option<String>,
    tags: &BTreeMap<String, Tags>,
) -> Snapshot {
    let created = thousands(context.now.as_millisecond());
    Snapshot {
        id,
        account: context.account().into(),
        region: context.region().into(),
        description: format!(
            "Copied for DestinationAmi {image} from SourceAmi {source_image} for SourceSnapshot {}. Task created on \
             {created}.",
            snapshot.id
        ),
        tags: tags.get("snapshot").cloned().unwrap_or_default(),
        volume_id: "vol-ffffffff".into(),
        encrypted: key.is_some(),
        kms_key_id: key,
        started: context.now,
        completed: None,
        state: "pending".into(),
        state_message: None,
        volume_permissions: Default::default(),
        lock: None,
        tier: Default::default(),
        visible_at: context.visible_at(),
        work: None,
        ..snapshot.clone()
    }
}

/// A number with commas between its thousands.
fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_separated_by_commas() {
        assert_eq!(super::thousands(1_566_308_778_174), "1,566,308,778,174");
        assert_eq!(super::thousands(12), "12");
    }
}
