//! Answers Auto Scaling: which groups and launch configurations there are, and what they launch.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::account::{AutoScalingGroup, LaunchConfiguration, TemplateSpecification, TemplateWithOverrides};
use crate::ec2::xml::{Xml, moment};
use crate::edge::{Caller, Refusal};
use crate::permissions::{Permissions, Request, matches};
use crate::world::state::{State, hex};
use crate::world::{Owned, World};

const NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

/// How many things a page has without `MaxRecords`, and the most (API reference).
const DEFAULT_RECORDS: usize = 50;
const MOST_RECORDS: usize = 100;

/// One call: who asks, and what.
struct Asked<'a> {
    caller: &'a Caller,
    parameters: &'a [(String, String)],
}

/// Answers one call from the world.
pub(crate) fn call(
    caller: &Caller,
    action: &str,
    parameters: &[(String, String)],
    permissions: &Permissions,
    (world, id): (&World, &str),
) -> Result<String, Refusal> {
    let asked = Asked { caller, parameters };
    let answer = match action {
        "DescribeAutoScalingGroups" => groups,
        "DescribeLaunchConfigurations" => launch_configurations,
        _ => {
            return Err(refusal("InvalidAction", format!("Could not find operation {action} for version 2011-01-01")));
        }
    };
    let request =
        Request::new(format!("autoscaling:{action}"), "*").with("aws:RequestedRegion", caller.region.as_str());
    if !permissions.grants(caller, &request) {
        let message = format!(
            "User: {} is not authorized to perform: autoscaling:{action} because no identity-based policy allows the \
             autoscaling:{action} action",
            caller.arn()
        );
        return Err(Refusal { status: StatusCode::FORBIDDEN, ..refusal("AccessDenied", message) });
    }
    let result = world.with(|state| answer(&asked, state))?;
    let mut xml = Xml::default();
    xml.group(&format!("{action}Result"), |xml| xml.append(&result));
    xml.group("ResponseMetadata", |xml| xml.text("RequestId", id));
    Ok(format!("<{action}Response xmlns=\"{NAMESPACE}\">{}</{action}Response>\n", xml.into_text()))
}

fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    Refusal { code: code.into(), message: message.into(), status: StatusCode::BAD_REQUEST }
}

impl Asked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The texts `name.member.1`, `name.member.2`, …
    fn list(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}.member.");
        let inside = self.parameters.iter().filter_map(|(key, value)| {
            let number: u32 = key.strip_prefix(&prefix)?.parse().ok()?;
            Some((number, value.as_str()))
        });
        inside.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Whether something is the caller's, in the Region of the call.
    fn is_ours(&self, account: &str, region: &str) -> bool {
        account == self.caller.account && region == self.caller.region
    }

    /// Cuts the page out of `items`, which must be in the order of their names. Also gives the token of
    /// the next page, if there is one. A token that another request gave is refused.
    fn page<'s, T>(&self, items: Vec<&'s T>, name: fn(&T) -> &str) -> Result<(Vec<&'s T>, Option<String>), Refusal> {
        let size = match self.get("MaxRecords").map(str::parse::<usize>) {
            None => DEFAULT_RECORDS,
            Some(Ok(size)) if (1..=MOST_RECORDS).contains(&size) => size,
            Some(_) => {
                return Err(refusal("ValidationError", format!("MaxRecords must be between 1 and {MOST_RECORDS}")));
            }
        };
        let mut of = self.parameters.to_vec();
        of.retain(|(key, _)| !["NextToken", "MaxRecords"].contains(&key.as_str()));
        of.sort();
        let of = format!("{}/{}/{of:?}", self.caller.account, self.caller.region);
        let print = hex(of.as_bytes())[..16].to_owned();
        let after = match self.get("NextToken").map(|token| token.split_once('.')) {
            None => None,
            Some(Some((given, after))) if given == print => Some(after),
            Some(_) => return Err(refusal("InvalidNextToken", "The token is invalid.")),
        };
        let mut rest = items.into_iter().filter(|item| after.is_none_or(|after| name(item) > after));
        let page: Vec<&T> = rest.by_ref().take(size).collect();
        let more = rest.next().is_some();
        let token = page.last().filter(|_| more).map(|last| format!("{print}.{}", name(last)));
        Ok((page, token))
    }
}

fn groups(asked: &Asked<'_>, state: &State) -> Result<Xml, Refusal> {
    let names = asked.list("AutoScalingGroupNames");
    let filters = filters(asked)?;
    let chosen = |one: &&Owned<AutoScalingGroup>| {
        asked.is_ours(&one.account, &one.it.region)
            && (names.is_empty() || names.contains(&one.it.name.as_str()))
            && filters.iter().all(|filter| filter.holds(&one.it.tags))
    };
    let all = &state.uses.auto_scaling_groups;
    let mut found: Vec<&AutoScalingGroup> = all.iter().filter(chosen).map(|one| &one.it).collect();
    found.sort_by_key(|group| group.name.as_str());
    let (found, next) = asked.page(found, |group| &group.name)?;
    let mut xml = Xml::default();
    xml.members("AutoScalingGroups", found, |xml, group| write_group(asked, state, xml, group));
    xml.maybe("NextToken", next);
    Ok(xml)
}

/// A filter on tags: they are the only ones.
struct TagFilter<'a> {
    name: &'a str,
    values: Vec<&'a str>,
}

fn filters<'a>(asked: &'a Asked<'_>) -> Result<Vec<TagFilter<'a>>, Refusal> {
    let mut filters = Vec::new();
    for number in 1.. {
        let Some(name) = asked.get(&format!("Filters.member.{number}.Name")) else { break };
        if !["tag-key", "tag-value"].contains(&name) && !name.starts_with("tag:") {
            return Err(refusal("ValidationError", format!("The filter '{name}' is invalid")));
        }
        filters.push(TagFilter { name, values: asked.list(&format!("Filters.member.{number}.Values")) });
    }
    Ok(filters)
}

impl TagFilter<'_> {
    fn holds(&self, tags: &BTreeMap<String, String>) -> bool {
        let any = |text: &str| self.values.iter().any(|value| matches(value, text));
        match self.name {
            "tag-key" => tags.keys().any(|key| any(key)),
            "tag-value" => tags.values().any(|value| any(value)),
            name => name.strip_prefix("tag:").and_then(|key| tags.get(key)).is_some_and(|value| any(value)),
        }
    }
}

fn write_group(asked: &Asked<'_>, state: &State, xml: &mut Xml, group: &AutoScalingGroup) {
    let (account, region) = (&asked.caller.account, &group.region);
    let name = &group.name;
    xml.text("AutoScalingGroupName", name);
    let digits = hex(format!("{account}/{region}/{name}").as_bytes());
    xml.text(
        "AutoScalingGroupARN",
        format!(
            "arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{}-0000-4000-8000-{}:autoScalingGroupName/{name}",
            &digits[..8],
            &digits[8..20]
        ),
    );
    xml.maybe("LaunchConfigurationName", group.launch_configuration_name.as_ref());
    let filled_in = |named: &TemplateSpecification| state.filled_in(account, region, named);
    if let Some(named) = &group.launch_template {
        write_template(xml, "LaunchTemplate", &filled_in(named));
    }
    if let Some(policy) = &group.mixed_instances_policy {
        xml.group("MixedInstancesPolicy", |xml| write_policy(xml, policy, &filled_in));
    }
    xml.text("MinSize", 0);
    xml.text("MaxSize", group.desired_capacity.max(1));
    xml.text("DesiredCapacity", group.desired_capacity);
    xml.text("DefaultCooldown", 300);
    xml.group("AvailabilityZones", |xml| xml.text("member", format!("{region}a")));
    xml.text("HealthCheckType", "EC2");
    xml.group("Instances", |_| {});
    xml.text("CreatedTime", moment(jiff::Timestamp::UNIX_EPOCH));
    xml.members("Tags", &group.tags, |xml, (key, value)| {
        xml.text("ResourceId", name);
        xml.text("ResourceType", "auto-scaling-group");
        xml.text("Key", key);
        xml.text("Value", value);
        xml.text("PropagateAtLaunch", false);
    });
}

fn write_policy(
    xml: &mut Xml,
    policy: &TemplateWithOverrides,
    filled_in: &impl Fn(&TemplateSpecification) -> TemplateSpecification,
) {
    xml.group("LaunchTemplate", |xml| {
        write_template(xml, "LaunchTemplateSpecification", &filled_in(&policy.launch_template));
        xml.members("Overrides", &policy.overrides, |xml, changed| {
            xml.maybe("InstanceType", changed.instance_type.as_ref());
            if let Some(named) = &changed.launch_template {
                write_template(xml, "LaunchTemplateSpecification", &filled_in(named));
            }
            xml.maybe("ImageId", changed.image_id.as_ref());
        });
    });
}

fn write_template(xml: &mut Xml, name: &str, template: &TemplateSpecification) {
    xml.group(name, |xml| {
        xml.maybe("LaunchTemplateId", template.launch_template_id.as_ref());
        xml.maybe("LaunchTemplateName", template.launch_template_name.as_ref());
        xml.maybe("Version", template.version.as_ref());
    });
}

fn launch_configurations(asked: &Asked<'_>, state: &State) -> Result<Xml, Refusal> {
    let names = asked.list("LaunchConfigurationNames");
    let chosen = |one: &&Owned<LaunchConfiguration>| {
        asked.is_ours(&one.account, &one.it.region) && (names.is_empty() || names.contains(&one.it.name.as_str()))
    };
    let all = &state.uses.launch_configurations;
    let mut found: Vec<&LaunchConfiguration> = all.iter().filter(chosen).map(|one| &one.it).collect();
    found.sort_by_key(|one| one.name.as_str());
    let (found, next) = asked.page(found, |one| &one.name)?;
    let mut xml = Xml::default();
    xml.members("LaunchConfigurations", found, |xml, one| {
        xml.text("LaunchConfigurationName", &one.name);
        xml.text("ImageId", &one.image_id);
        xml.text("InstanceType", &one.instance_type);
        let devices = ('b'..='z').map(|letter| format!("/dev/xvd{letter}")).zip(&one.snapshot_ids);
        xml.members("BlockDeviceMappings", devices, |xml, (device, snapshot)| {
            xml.text("DeviceName", device);
            xml.group("Ebs", |xml| xml.text("SnapshotId", snapshot));
        });
        xml.text("CreatedTime", moment(jiff::Timestamp::UNIX_EPOCH));
    });
    xml.maybe("NextToken", next);
    Ok(xml)
}
