//! Reports on the usage of an image.

use serde_json::json;

use super::*;

const REPORT: [(&str, &str); 3] = [
    ("ImageId", GOLDEN),
    ("ResourceType.1.ResourceType", "ec2:Instance"),
    ("ResourceType.2.ResourceType", "ec2:LaunchTemplate"),
];

fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    Bench::of(|file| {
        let instance = |number: u32, age: u32| {
            json!({"region": HOME, "id": format!("i-0a1b2c3d4e5f6010{number}"), "imageId": GOLDEN,
                   "launchTime": format!("2026-11-{:02}T19:00:00Z", 23 - age)})
        };
        hold(
            file,
            1,
            json!({
            "instances": [instance(1, 1), instance(2, 9), instance(3, 0)],
            "launchTemplates": [{"region": HOME, "id": "lt-0a1b2c3d4e5f60101", "name": "theirs",
                                 "versions": [{"number": 1, "imageId": GOLDEN}]}]}),
        );
        change(&mut file.settings);
    })
}

#[tokio::test]
async fn a_report_counts_by_account_what_is_old_enough() {
    let bench = bench(|_| {});
    let id = bench.call("CreateImageUsageReport", &REPORT).await.ok().one("reportId");
    let by_id = [("ReportId.1", id.as_str())];
    let pending = bench.call("DescribeImageUsageReports", &by_id).await.ok();
    assert_eq!(pending.one("state"), "pending");
    assert!(bench.call("DescribeImageUsageReportEntries", &by_id).await.ok().all("accountId").is_empty());
    bench.after(60_000);
    let report = bench.call("DescribeImageUsageReports", &by_id).await.ok();
    assert_eq!((report.one("state"), report.one("imageId")), ("available".into(), GOLDEN.into()));
    assert_eq!(report.one("expirationTime"), "2026-12-23T20:00:00.000Z");
    let entries = bench.call("DescribeImageUsageReportEntries", &by_id).await.ok();
    assert_eq!(entries.all("accountId"), [THEM, THEM]);
    assert_eq!(entries.all("resourceType"), ["ec2:Instance", "ec2:LaunchTemplate"]);
    assert_eq!(entries.all("usageCount"), ["2", "1"]);
    let page = [by_id[0], ("MaxResults", "1")];
    let page = bench.call("DescribeImageUsageReportEntries", &page).await.ok();
    assert_eq!((page.all("usageCount").len(), page.all("nextToken").len()), (1, 1));
    bench.after(31 * DAY);
    let gone = bench.call("DescribeImageUsageReports", &by_id).await;
    assert_eq!(gone.outcome, "InvalidImageUsageReportId.NotFound");
}

#[tokio::test]
async fn an_image_has_one_report_in_the_making_and_the_same_token_gives_the_same() {
    let bench = bench(|settings| settings.usage_lag_ms = 0);
    let with = |token: &'static str| [&REPORT[..], &[("ClientToken", token)]].concat();
    let id = bench.call("CreateImageUsageReport", &with("a")).await.ok().one("reportId");
    assert_eq!(bench.call("CreateImageUsageReport", &with("a")).await.ok().one("reportId"), id);
    let second = bench.call("CreateImageUsageReport", &with("b")).await;
    assert_eq!(second.outcome, "ResourceLimitExceeded");
    bench.after(60_000).call("CreateImageUsageReport", &with("b")).await.ok();
    let entries = bench.call("DescribeImageUsageReportEntries", &[("ReportId.1", &id)]).await.ok();
    // The demo's own instance was launched at the beginning.
    assert_eq!(entries.all("accountId"), [US, THEM, THEM]);
    assert_eq!(entries.all("usageCount"), ["1", "3", "1"]);
    bench.call("DeleteImageUsageReport", &[("ReportId", &id)]).await.ok();
    let again = bench.call("DeleteImageUsageReport", &[("ReportId", &id)]).await;
    assert_eq!(again.outcome, "InvalidImageUsageReportId.NotFound");
}

#[tokio::test]
async fn only_the_owner_gets_a_report_and_it_can_fail() {
    let bench = bench(|_| {});
    assert_eq!(bench.call_by(THEM, "CreateImageUsageReport", &REPORT).await.outcome, "AuthFailure");
    assert_eq!(bench.call("CreateImageUsageReport", &REPORT[..1]).await.outcome, "MissingParameter");
    let caller = Caller { fail_task: Some("no luck".into()), ..bench.caller.clone() };
    bench.call_as(&caller, "CreateImageUsageReport", &REPORT).await.ok();
    let failed = bench.after(60_000).call("DescribeImageUsageReports", &[]).await.ok();
    assert_eq!((failed.one("state"), failed.one("stateReason")), ("error".into(), "no luck".into()));
}

#[tokio::test]
async fn a_report_can_be_about_some_accounts_or_leave_the_owner_out() {
    for (counts_owner, accounts, found) in [(true, [US, ""], vec![US]), (false, [US, THEM], vec![THEM, THEM])] {
        let bench = bench(|settings| {
            settings.usage_lag_ms = 0;
            settings.choices.usage_report_counts_owner = counts_owner;
        });
        let mut parameters = REPORT.to_vec();
        parameters.extend([("AccountId.1", accounts[0]), ("AccountId.2", accounts[1])]);
        bench.call("CreateImageUsageReport", &parameters).await.ok();
        let entries = bench.after(60_000).call("DescribeImageUsageReportEntries", &[]).await.ok();
        assert_eq!(entries.all("accountId"), found);
    }
}
