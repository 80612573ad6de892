//! What real accounts hold and no well-behaved service would say: what people typed and EC2 hands on, what is gone and
//! still named, and images that are none. None of it stops a clean-up.

use super::*;

const TEMPLATE: &str = "lt-0a1b2c3d4e5f60001";

/// The account and the inputs of a fixture, with the bucket that every deployment has.
fn fixture(text: &str) -> (AccountFile, Vec<Value>, Value) {
    let mut fixture: Value = serde_json::from_str(text).expect("a fixture");
    let bucket = json!({"name": BUCKET, "region": "us-east-1", "encryption": "AES256"});
    fixture["account"]["accounts"][0]["buckets"] = json!([bucket]);
    let events = fixture["events"].as_array().expect("inputs").clone();
    (serde_json::from_value(fixture["account"].take()).expect("an account file"), events, fixture["also"].take())
}

/// What the plan notes of the listings.
fn notes(outcome: &Outcome) -> Vec<String> {
    let files = outcome.things.iter().filter(|thing| thing.kind == "object" && thing.id.ends_with("/notes.jsonl"));
    let lines = files.flat_map(|file| {
        let text = file.detail();
        let body = text.find("{\"place\"").map(|at| text[at..].to_owned()).unwrap_or_default();
        body.lines().map(|line| serde_json::from_str::<Value>(line).expect("a note")).collect::<Vec<_>>()
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines.map(|note| format!("{}: {}", text(&note["place"]), text(&note["text"]))).collect()
}

fn asked_to_resolve(outcome: &Outcome) -> usize {
    outcome.calls.iter().filter(|call| call.parameters.contains_key("ResolveAlias")).count()
}

/// Three images: the first is the newest, the second and the third are due.
fn three(more: Value) -> AccountFile {
    account(vec![image(1, 1), image(2, 2), image(3, 3)], more)
}

fn version(number: u32, image: &str) -> Value {
    json!({"number": number, "imageId": image})
}

fn templates(versions: &[&[Value]]) -> Value {
    let one = |(number, versions): (usize, &&[Value])| {
        json!({"region": "us-east-1", "id": format!("lt-0a1b2c3d4e5f6000{number}"), "name": format!("t{number}"),
               "versions": versions})
    };
    (1..).zip(versions).map(one).collect()
}

/// 67. Versions of launch templates are listed without their aliases resolved.
///
/// A launch template is all that the account has beside its backups: every real account has one.
#[test]
fn an_account_with_a_launch_template_is_planned() {
    let (file, events, _) = fixture(include_str!("../../fixtures/b01.json"));
    let outcome = cleaned(file, events[0].clone());
    assert_eq!(ended(&outcome), "OK");
    let actions = [1, 2, 3].map(|number| said(&outcome, &format!("ami-00b0000000000000{number}")));
    assert!(actions[0].starts_with("KEEP") && actions[0].contains("launch template"), "{actions:?}");
    assert!(actions[1..].iter().all(|action| action.starts_with("DEREGISTER")), "{actions:?}");
    assert_eq!((notes(&outcome), asked_to_resolve(&outcome)), (Vec::new(), 0));
}

/// 67. Each alias is resolved once, by asking for one version that names it.
#[test]
fn each_alias_is_resolved_once() {
    let golden = version(1, "resolve:ssm:/golden");
    let more = json!({
        "launchTemplates": templates(&[&[golden.clone(), version(2, "resolve:ssm:/golden")], &[golden]]),
        "ssmParameters": [{"region": "us-east-1", "name": "/golden", "value": ami(3)}],
    });
    let outcome = cleaned(three(more), json!({"retention": {"newest": 1}, "usageReports": false}));
    assert_eq!((ended(&outcome).as_str(), asked_to_resolve(&outcome)), ("OK", 1));
    assert!(said(&outcome, &ami(3)).contains("version 2"), "{}", said(&outcome, &ami(3)));
}

/// 67. An alias that stands for no image concerns the launch templates that name it, and is noted with them.
#[test]
fn a_broken_alias_stops_nothing_but_its_own_template() {
    let more = json!({
        "launchTemplates": templates(&[&[version(1, "resolve:ssm:/gone")], &[version(1, "resolve:ssm:/golden")]]),
        "ssmParameters": [{"region": "us-east-1", "name": "/golden", "value": ami(3)}],
    });
    let outcome = cleaned(three(more), newest(json!({})));
    assert_eq!(ended(&outcome), "OK");
    assert_eq!([2, 3].map(|number| is_there(&outcome, &ami(number))), [false, true]);
    let notes = notes(&outcome);
    assert!(notes.len() == 1 && notes[0].starts_with(&format!("launch template {TEMPLATE} version 1: ")), "{notes:?}");
    assert!(notes[0].contains("`resolve:ssm:/gone`") && notes[0].contains("SsmInvalidParameter"), "{notes:?}");
}

/// 68. What people typed where an id belongs and is none refers to nothing, and is noted with its place. An id that could
///     be a true one in lower case, and without what surrounds it, keeps what it could concern.
#[test]
fn what_people_typed_for_an_image_stops_no_plan() {
    let (file, events, also) = fixture(include_str!("../../fixtures/b02.json"));
    let typed = file.accounts[0].launch_templates[0].versions[0].image_id.clone().expect("an image");
    let also = also.as_array().expect("other texts").iter().map(|text| text.as_str().unwrap_or_default().to_owned());
    for text in std::iter::once(typed).chain(also) {
        let mut file = file.clone();
        file.accounts[0].launch_templates[0].versions[0].image_id = Some(text.clone());
        let outcome = cleaned(file, events[0].clone());
        assert_eq!(ended(&outcome), "OK", "{text}");
        let notes = notes(&outcome);
        assert!(notes.len() == 1 && notes[0].contains(&format!("version 1: `{text}`")), "{notes:?}");
        let due = [2, 3].map(|number| said(&outcome, &format!("ami-00b0000000000000{number}")));
        assert!(due.iter().all(|action| action.starts_with("DEREGISTER")), "{due:?}");
    }
    for text in [format!("{} ", ami(3)), ami(3).to_uppercase(), format!("\n{}", ami(3))] {
        let more = json!({"launchTemplates": templates(&[&[version(1, &text)]])});
        let outcome = cleaned(three(more), newest(json!({})));
        assert_eq!([2, 3].map(|number| is_there(&outcome, &ami(number))), [false, true], "{text:?}");
        assert_eq!((ended(&outcome).as_str(), notes(&outcome).len()), ("OK", 1), "{text:?}");
    }
}

/// 68. What people typed where an id belongs and is none refers to nothing, and is noted with its place. A version of a
///     launch template that is gone, or a template that is gone, refers to nothing, and is noted with what names it.
///
/// Whatever names it, and under each rule of which versions count.
#[test]
fn what_is_gone_or_is_no_id_stops_no_plan_whatever_names_it() {
    let pinned = |name: &str, template: &str, version: &str| {
        let template = json!({"launchTemplateId": template, "version": version});
        json!({"region": "us-east-1", "name": name, "launchTemplate": template})
    };
    let overrides = json!({"launchTemplate": {"launchTemplateName": "gone"}, "overrides": [{"imageId": "ami-new"}]});
    let more = json!({
        "launchTemplates": templates(&[&[version(1, &ami(1)), version(3, &ami(1))]]),
        "autoScalingGroups": [
            pinned("at-2", TEMPLATE, "2"), pinned("at-none", "lt-0a1b2c3d4e5f6ffff", "1"),
            {"region": "us-east-1", "name": "mixed", "mixedInstancesPolicy": overrides},
        ],
        "fleets": [{"region": "us-east-1", "id": "fleet-1", "launchTemplateConfigs": [overrides]}],
        "spotFleets": [{"region": "us-east-1", "id": "sfr-1",
            "launchSpecifications": [{"imageId": "ami-?", "snapshotIds": [format!("{} ", snap(9))]}],
            "launchTemplateConfigs": [overrides]}],
        "launchConfigurations": [{"region": "us-east-1", "name": "old", "imageId": "Ami-1", "snapshotIds": ["snap"]}],
        "instances": [{"region": "us-east-1", "id": "i-0a1b2c3d4e5f60009", "imageId": "ami-", "volumes": []}],
    });
    for which in [json!("all"), json!("defaultAndLatest"), json!({"newest": 2}), json!("groups")] {
        let outcome = cleaned(three(more.clone()), newest(json!({"launchTemplateVersions": which})));
        assert_eq!(ended(&outcome), "OK", "{which}");
        assert_eq!([2, 3].map(|number| is_there(&outcome, &ami(number))), [false; 2], "{which}");
        let notes = notes(&outcome);
        for part in [
            "group at-2: it launches version `2` of launch template lt-0a1b2c3d4e5f60001, which does not exist",
            "group at-none: it launches from launch template `lt-0a1b2c3d4e5f6ffff`, which does not exist",
            "group mixed: it launches from launch template `gone`",
            "Auto Scaling group mixed: `ami-new` is not an image id; it refers to nothing",
            "fleet fleet-1: it launches from launch template `gone`",
            "fleet fleet-1: `ami-new` is not an image id",
            "fleet sfr-1: it launches from launch template `gone`",
            "Spot Fleet sfr-1: `ami-?` is not an image id",
            "is not a snapshot id; snap-00000000000000009 stays, in case that is meant",
            "launch configuration old: `Ami-1` is not an image id",
            "launch configuration old: `snap` is not a snapshot id",
            "instance i-0a1b2c3d4e5f60009 (running): `ami-` is not an image id",
        ] {
            assert!(notes.iter().any(|note| note.contains(part)), "{part} is missing from {notes:#?}");
        }
    }
}

/// 69. A row of a listing that is odd never fails the listing: what it could concern stays, and it is noted.
///
/// Kernels and ramdisks, and images of which EC2 leaves out root device, name or date.
#[test]
fn images_that_are_none_and_images_that_lack_something_stop_no_plan() {
    let kernel = |id: &str| json!({"region": "us-east-1", "id": id, "name": "", "rootDeviceName": "", "rootDeviceType": "instance-store"});
    let lacking = |number: u32, field: &str, value: Value| with(image(number, 100), field, value);
    let mut images = vec![
        image(1, 1),
        image(2, 2),
        lacking(3, "name", json!("")),
        lacking(4, "undated", json!(true)),
        lacking(5, "rootDeviceName", json!("")),
        lacking(6, "rootDeviceType", json!("")),
    ];
    images.extend(["aki-0a1b2c3d", "ari-0a1b2c3d"].map(kernel));
    let outcome = cleaned(account(images, json!({})), newest(json!({})));
    assert_eq!(ended(&outcome), "OK");
    let there = [1, 2, 3, 4, 5, 6].map(|number| is_there(&outcome, &ami(number)));
    assert_eq!(there, [true, false, false, true, false, false]);
    assert!(said(&outcome, &ami(4)).contains("no-age"), "{}", said(&outcome, &ami(4)));
    let notes = notes(&outcome);
    let noted = ["aki-0a1b2c3d", "ari-0a1b2c3d"]
        .map(|id| format!("image `{id}`: it is no machine image, and is left as it is"));
    assert_eq!(notes, noted);
}

/// 69. A page that is empty and has a token is no end of a listing. What EC2 does not find is not there, and no failure.
#[test]
fn empty_pages_and_images_that_were_never_stored_stop_nothing() {
    let mut file = ami_backup_tests::demo_account();
    file.settings.choices.empty_first_page = true;
    file.settings.choices.never_stored_code = Some("InvalidAMIID.NotFound".into());
    let input = json!({"imageIds": [ami_backup_tests::IMAGE], "copyTo": ["eu-west-1"]});
    let trial = Trial { machine: "backup".into(), ..clean_up(file, input) };
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    assert_eq!((outcome.complaints.clone(), ended(&outcome).as_str()), (Vec::new(), "OK"));
}
