//! Owns reports on the usage of an image by all accounts: CreateImageUsageReport, DescribeImageUsageReports,
//! DescribeImageUsageReportEntries and DeleteImageUsageReport.

use jiff::SignedDuration;

use super::attributes::done;
use super::context::{Context, check_id};
use super::copy::{token_of, used_token};
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::references::depth;
use super::xml::{Xml, moment};
use crate::permissions::Request;
use crate::world::state::{State, Token, later};
use crate::world::{Tags, UsageEntry, UsageReport, UsageType};

/// How many versions of a launch template are looked at, and most accounts of a report (API reference).
const DEFAULT_DEPTH: usize = 20;
const MOST_ACCOUNTS: usize = 200;

pub(super) fn create(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let types = types(context)?;
    let accounts: Vec<String> = params.list("AccountId").into_iter().map(Into::into).collect();
    if accounts.len() > MOST_ACCOUNTS {
        return Err(Ec2Error::invalid(format!("At most {MOST_ACCOUNTS} account IDs can be specified")));
    }
    let mut tags = params.tag_specifications(&["image-usage-report"], context.settings().quotas.tags_per_resource)?;
    let (token, fingerprint) = token_of(context);
    if let Some(id) = used_token(context, state, token.as_ref())? {
        context.end_dry_run()?;
        return Ok(report_id(&id));
    }
    let image = context.own_image(state, params.required("ImageId")?)?;
    let on_new = context.on(report_arn(context.region(), context.account(), "*"));
    let new_tags = tags.get("image-usage-report").cloned().unwrap_or_default();
    context.authorise([context.on_image(image), on_new.request_tags(&new_tags)])?;
    context.authorise_tags(&tags)?;
    check_pending(context, state, &image.id)?;
    let image_id = image.id.clone();
    context.end_dry_run()?;

    let takes = i64::try_from(context.settings().usage_report_ms).unwrap_or(i64::MAX / 2);
    let report = UsageReport {
        id: state.new_id("amiur"),
        account: context.account().into(),
        region: context.region().into(),
        image_id,
        types,
        accounts,
        tags: tags.remove("image-usage-report").unwrap_or_default(),
        created: context.now,
        ready: later(context.now, SignedDuration::from_millis(takes)),
        state: "pending".into(),
        fail: context.caller.fail_task.clone(),
        entries: Vec::new(),
        visible_at: context.visible_at(),
    };
    if let Some(key) = token {
        state.tokens.insert(key, Token { parameters: fingerprint, result: report.id.clone() });
    }
    let xml = report_id(&report.id);
    state.usage_reports.insert(report.id.clone(), report);
    Ok(xml)
}

fn report_id(id: &str) -> Xml {
    let mut xml = Xml::default();
    xml.text("reportId", id);
    xml
}

fn report_arn(region: &str, account: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}:{account}:image-usage-report/{id}")
}

/// What the report is to look at.
fn types(context: &Context<'_>) -> Answer<Vec<UsageType>> {
    let named = context.params.structures("ResourceType");
    if named.is_empty() {
        return Err(Ec2Error::missing("ResourceTypes"));
    }
    let mut types = Vec::new();
    for entry in named {
        let mut versions = DEFAULT_DEPTH;
        let name = entry.required("ResourceType")?;
        for option in entry.structures("ResourceTypeOption") {
            if (name, option.required("OptionName")?) != ("ec2:LaunchTemplate", "version-depth") {
                return Err(Ec2Error::invalid(format!("Invalid resource type option for {name}")));
            }
            versions = depth(&option.list("OptionValue"))?;
        }
        types.push(match name {
            "ec2:Instance" => UsageType::Instance,
            "ec2:LaunchTemplate" => UsageType::LaunchTemplate(versions),
            other => return Err(Ec2Error::invalid(format!("Invalid resource type '{other}'"))),
        });
    }
    Ok(types)
}

/// One report of an image at a time, and so many of an account.
fn check_pending(context: &Context<'_>, state: &State, image: &str) -> Answer<()> {
    let pending = |report: &&UsageReport| {
        report.account == context.account() && report.region == context.region() && report.state == "pending"
    };
    if let Some(other) = state.usage_reports.values().filter(pending).find(|report| report.image_id == image) {
        let message = format!("The report {} of the image {image} is still pending", other.id);
        return Err(Ec2Error::new(&context.choices().second_usage_report_code, message));
    }
    let limit = context.settings().quotas.pending_usage_reports;
    if state.usage_reports.values().filter(pending).count() >= limit {
        let message = format!("The maximum number of pending image usage reports is {limit}");
        return Err(Ec2Error::new("ResourceLimitExceeded", message));
    }
    Ok(())
}

fn report<'s>(context: &Context<'_>, state: &'s State, id: &str) -> Answer<&'s UsageReport> {
    check_id(id, "amiur", "InvalidImageUsageReportId.Malformed")?;
    let ours = |report: &&UsageReport| {
        report.account == context.account() && report.region == context.region() && report.visible_at <= context.now
    };
    state.usage_reports.get(id).filter(ours).ok_or_else(|| {
        Ec2Error::new("InvalidImageUsageReportId.NotFound", format!("The image usage report '{id}' does not exist"))
    })
}

/// The reports of the caller that the call names by their ids and by images.
fn reports<'s>(context: &Context<'_>, state: &'s State) -> Answer<Vec<&'s UsageReport>> {
    let (ids, images) = (context.params.list("ReportId"), context.params.list("ImageId"));
    for id in &ids {
        report(context, state, id)?;
    }
    let chosen = |one: &&UsageReport| {
        report(context, state, &one.id).is_ok()
            && (ids.is_empty() || ids.contains(&one.id.as_str()))
            && (images.is_empty() || images.contains(&one.image_id.as_str()))
    };
    Ok(state.usage_reports.values().filter(chosen).collect())
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, &["creation-time", "state", "tag-key"])?;
    let page = Page::read(context, (1, 1_000))?;
    let mut found = reports(context, state)?;
    context.end_dry_run()?;
    found.retain(|report| {
        filters.hold(&report.tags, |name| {
            vec![if name == "state" { report.state.clone() } else { moment(report.created) }]
        })
    });
    let (found, next) = page.cut(found, |report| report.id.clone());
    let mut xml = Xml::default();
    xml.items("imageUsageReportSet", found, write);
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn write(xml: &mut Xml, report: &UsageReport) {
    xml.text("imageId", &report.image_id);
    xml.text("reportId", &report.id);
    xml.items("resourceTypeSet", &report.types, |xml, kind| {
        xml.text("resourceType", kind.text());
        if let UsageType::LaunchTemplate(depth) = kind {
            xml.items("resourceTypeOptionSet", [depth], |xml, depth| {
                xml.text("optionName", "version-depth");
                xml.group("optionValueSet", |xml| xml.text("item", depth));
            });
        }
    });
    xml.group("accountIdSet", |xml| {
        for account in &report.accounts {
            xml.text("item", account);
        }
    });
    xml.text("state", &report.state);
    xml.maybe("stateReason", report.fail.as_ref().filter(|_| report.state == "error"));
    xml.moment("creationTime", report.created);
    xml.moment("expirationTime", report.expires());
    xml.tags(&report.tags);
}

pub(super) fn describe_entries(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, &["account-id", "creation-time", "resource-type"])?;
    let page = Page::read(context, (1, 1_000))?;
    let reports = reports(context, state)?;
    context.end_dry_run()?;
    let mut rows: Vec<(&UsageReport, &UsageEntry)> = Vec::new();
    for report in reports {
        rows.extend(report.entries.iter().map(|entry| (report, entry)));
    }
    rows.retain(|(report, entry)| {
        filters.hold(&Tags::new(), |name| {
            vec![match name {
                "account-id" => entry.account.clone(),
                "resource-type" => entry.kind.to_owned(),
                _ => moment(report.created),
            }]
        })
    });
    let place = |row: &(&UsageReport, &UsageEntry)| format!("{}/{}/{}", row.0.id, row.1.kind, row.1.account);
    rows.sort_by_key(place);
    let (rows, next) = page.cut(rows, place);
    let mut xml = Xml::default();
    xml.items("imageUsageReportEntrySet", rows, |xml, (report, entry)| {
        xml.text("resourceType", entry.kind);
        xml.text("reportId", &report.id);
        xml.text("usageCount", entry.count);
        xml.text("accountId", &entry.account);
        xml.text("imageId", &report.image_id);
        xml.moment("reportCreationTime", report.created);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

pub(super) fn delete(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let report = report(context, state, context.params.required("ReportId")?)?;
    let on_report: Request = context.on(report_arn(&report.region, &report.account, &report.id));
    context.authorise([on_report.resource_tags(&report.tags)])?;
    let id = report.id.clone();
    context.end_dry_run()?;
    state.usage_reports.remove(&id);
    Ok(done())
}
