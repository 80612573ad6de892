//! Owns what report-backup does with what came back; whole runs are in `flow`.

use ami_backup_simulator::objects::StoredObject;

use crate::support::*;

async fn selection(stage: &Stage, images: Value) -> Value {
    good(stage, "select-images", json!({"input": {"imageIds": images, "run": "r"}})).await
}

#[tokio::test]
async fn an_image_that_left_no_outcome_is_reported_all_the_same() {
    let stage = Stage::demo();
    let selection = selection(&stage, json!([IMAGE, "ami-0a1b2c3d4e5f60014"])).await;
    let attempt = items_of(&stage, &selection).await[0]["run"]["attempt"].as_str().unwrap().to_owned();
    // What is not an outcome counts as none.
    let broken = StoredObject { body: b"{".to_vec(), ..StoredObject::default() };
    stage.objects.insert(BUCKET, &format!("{attempt}outcomes/1.json"), broken).unwrap();
    let report = good(&stage, "report-backup", selection).await;
    assert_eq!((report["verdict"].as_str(), report["error"].as_str()), (Some("FAILED"), Some("BackupFailed")));
    assert_eq!(report["counts"], json!({"lines": 4, "done": 0, "failed": 4}), "an image and its object, twice");
    let cause: Value = serde_json::from_str(report["cause"].as_str().unwrap()).unwrap();
    assert_eq!(cause["run"], "r");
    assert_eq!(cause["failed"][1]["error"]["name"], "Unreported");
    assert!(cause["report"].as_str().unwrap().starts_with(&format!("s3://{BUCKET}/{attempt}")), "{cause}");
}

#[tokio::test]
async fn outcomes_of_an_earlier_start_do_not_count_for_this_one() {
    let stage = Stage::demo();
    crate::driver::backup(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    stage.pass(1);
    let report = good(&stage, "report-backup", selection(&stage, json!([IMAGE])).await).await;
    assert_eq!(report["verdict"], "FAILED");
}

/// Case 77: the outcomes of a large run are read to the last page.
#[tokio::test]
async fn a_run_of_more_images_than_fit_on_a_page_is_reported_in_full() {
    let stage = Stage::demo();
    let images: Vec<String> = (0..1_100).map(|number| format!("ami-{number:017x}")).collect();
    let selection = selection(&stage, json!(images)).await;
    for item in items_of(&stage, &selection).await {
        let outcome = json!({"item": item["item"], "lines": [{
            "source": item["source"]["imageId"], "leg": "store", "region": HOME, "result": "OK",
        }]});
        let body = outcome.to_string().into_bytes();
        let key = format!("{}outcomes/{}.json", item["run"]["attempt"].as_str().unwrap(), item["item"]);
        stage.objects.insert(BUCKET, &key, StoredObject { body, ..StoredObject::default() }).unwrap();
    }
    let report = good(&stage, "report-backup", selection).await;
    assert_eq!(report["counts"], json!({"lines": 1_100, "done": 1_100, "failed": 0}));
    assert_eq!(report["verdict"], "OK");
}

#[tokio::test]
async fn items_that_have_gone_are_a_defect() {
    let stage = Stage::demo();
    let selection = selection(&stage, json!([IMAGE])).await;
    stage.objects.remove(BUCKET, selection["items"]["key"].as_str().unwrap());
    let answer = call(&stage, "report-backup", selection.clone()).await;
    assert_eq!(error_name(&answer), Some("Defect"));
    assert!(answer.unwrap_err().to_string().contains(selection["items"]["key"].as_str().unwrap()));
}

/// What an image made is found by its tags when its execution could not say so itself.
#[tokio::test]
async fn what_an_unreported_image_left_is_looked_for_and_what_cannot_be_is_said() {
    let stage = furnished();
    crate::driver::backup(&stage, json!({"imageIds": [IMAGE], "copyTo": ["eu-west-1"], "run": "r"})).await;
    stage.pass(1);
    let input = json!({"imageIds": [IMAGE], "copyTo": ["eu-west-1"], "run": "r"});
    let again = good(&stage, "select-images", json!({"input": input})).await;
    let claims = |report: &Value| {
        let cause: Value = serde_json::from_str(report["cause"].as_str().unwrap()).unwrap();
        let lines = cause["failed"].as_array().unwrap().clone();
        lines.iter().map(|line| (line["claim"]["id"].clone(), line["notes"][0].clone())).collect::<Vec<_>>()
    };
    let found = claims(&good(&stage, "report-backup", again.clone()).await);
    assert_eq!(found[1].0, format!("{IMAGE}.bin"));
    assert!(found[2].0.as_str().is_some_and(|id| id.starts_with("ami-") && id != IMAGE), "{found:?}");

    always(&stage, "report-backup", "DescribeImages", refusal("UnauthorizedOperation"));
    let found = claims(&good(&stage, "report-backup", again).await);
    assert!(found[0].1.as_str().is_some_and(|note| note.contains("was not looked for")), "{found:?}");
}

/// A leg can fail after an earlier try of it, or an earlier start of the run, has made something.
/// A store that was asked for shows by the claim on it while EC2 does not show its task.
#[tokio::test]
async fn a_store_that_does_not_show_yet_is_reported_by_its_claim() {
    let stage = furnished_with(|settings| settings.consistency_delay_ms = 60_000);
    let selection = selection(&stage, json!([IMAGE])).await;
    let item = items_of(&stage, &selection).await[0].clone();
    let opened = good(&stage, "record-backup", json!({"phase": "OPEN", "subject": item})).await;
    good(&stage, "start-store", opened["legs"]["store"].clone()).await;
    let claim = |report: Value| {
        let cause: Value = serde_json::from_str(report["cause"].as_str().unwrap()).unwrap();
        cause["failed"].as_array().unwrap().iter().find(|line| line["leg"] == "store").unwrap()["claim"].clone()
    };
    let claimed = claim(good(&stage, "report-backup", selection.clone()).await);
    assert_eq!((&claimed["id"], &claimed["state"]), (&json!(format!("{IMAGE}.bin")), &json!("unfinished")));
    // What was asked for long ago and still does not show is not there.
    let stage = furnished();
    let selection = self::selection(&stage, json!([IMAGE])).await;
    assert_eq!(claim(good(&stage, "report-backup", selection).await), Value::Null);
}

#[tokio::test]
async fn what_a_failed_leg_left_without_knowing_it_is_looked_for() {
    let stage = furnished();
    crate::driver::backup(&stage, json!({"imageIds": [IMAGE], "copyTo": ["eu-west-1"], "run": "r"})).await;
    stage.pass(1);
    let input = json!({"imageIds": [IMAGE], "copyTo": ["eu-west-1"], "run": "r"});
    let again = good(&stage, "select-images", json!({"input": input})).await;
    let item = items_of(&stage, &again).await[0].clone();
    let failed = |leg: &str, region: &str| {
        let error = json!({"name": "Conflict", "message": "it was to fail"});
        json!({"source": IMAGE, "leg": leg, "region": region, "result": "FAILED", "error": error})
    };
    let outcome = json!({"item": 0, "lines": [failed("store", HOME), failed("copy", "eu-west-1")]});
    let stored = StoredObject { body: outcome.to_string().into_bytes(), ..StoredObject::default() };
    let key = format!("{}outcomes/0.json", item["run"]["attempt"].as_str().unwrap());
    stage.objects.insert(BUCKET, &key, stored).unwrap();
    let report = good(&stage, "report-backup", again).await;
    let cause: Value = serde_json::from_str(report["cause"].as_str().unwrap()).unwrap();
    let claims: Vec<_> = cause["failed"].as_array().unwrap().iter().map(|line| line["claim"].clone()).collect();
    assert_eq!(
        (claims[0]["id"].as_str(), claims[0]["state"].as_str()),
        (Some("ami-0a1b2c3d4e5f60001.bin"), Some("unfinished"))
    );
    assert!(claims[1]["id"].as_str().is_some_and(|id| id.starts_with("ami-") && id != IMAGE), "{claims:?}");
    assert_eq!(cause["failed"][0]["error"]["name"], "Conflict");
}
