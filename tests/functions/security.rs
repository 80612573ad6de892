//! Owns who can write what is believed: tags of ours, and documents in the bucket. `SECURITY.md` says the same.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::{
    cleanup::run as cleanup,
    id::{BucketName, ImageId, Region},
    naming::{self, PAPERS},
};
use ami_backup_simulator::{edge::Caller, permissions::Request};
use ami_backup_tests::{deployed, functions, furnish, project};

use crate::{
    driver::{backup, restore},
    roles,
    support::*,
};

/// A role that the stack has not made, and that may do everything that nothing denies.
const ANOTHER: &str = "another";

fn may(stage: &Stage, who: &str, request: &Request) -> bool {
    stage.simulator.permissions().grants(&Caller::of_account(ACCOUNT, Some(who)), request)
}

fn deployed_stage() -> Stage {
    let stage = furnished();
    roles::deploy(&stage);
    stage
}

/// The stack's roles that may do one of these.
fn those_who_may(stage: &Stage, requests: &[Request]) -> String {
    let allowed = functions::ALL.iter().filter(|one| requests.iter().any(|request| may(stage, one.name, request)));
    let names: BTreeSet<&str> = allowed.map(|one| one.name).collect();
    if names.is_empty() { "none".into() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

/// Rows that differ only in their first column become one.
fn merged(rows: Vec<[String; 5]>) -> Vec<String> {
    let mut groups: Vec<(Vec<String>, [String; 4])> = Vec::new();
    for [first, rest @ ..] in rows {
        match groups.iter_mut().find(|(_, same)| *same == rest) {
            Some((firsts, _)) => firsts.push(first),
            None => groups.push((vec![first], rest)),
        }
    }
    groups.into_iter().map(|(firsts, rest)| format!("| {} | {} |", firsts.join(", "), rest.join(" | "))).collect()
}

const EC2: &str = "arn:aws:ec2:us-east-1";

/// Every way in which a tag of this key is written or removed, on one kind of resource or another.
fn tagging(key: &str) -> [Vec<Request>; 4] {
    let tags = BTreeMap::from([(key.to_owned(), "x".to_owned())]);
    let ours = BTreeMap::from([(naming::TAG_MANAGED.to_owned(), "true".to_owned())]);
    let arns = ["image/ami-1", "snapshot/snap-1"].map(|id| format!("{EC2}::{id}"));
    let all = arns.into_iter().chain([format!("{EC2}:{ACCOUNT}:export-image-task/export-ami-1")]);
    let all: Vec<String> = all.collect();
    let write = |arn: &String| Request::new("ec2:CreateTags", arn).request_tags(&tags);
    let creates =
        ["CreateImage", "CopyImage", "CopySnapshot", "CreateRestoreImageTask", "RegisterImage", "ExportImage"];
    let creating = all.iter().flat_map(|arn| creates.map(|action| write(arn).with("ec2:CreateAction", action)));
    let remove = |arn: &String| Request::new("ec2:DeleteTags", arn).tag_keys([key.to_owned()]).resource_tags(&ours);
    [
        creating.collect(),
        all.iter().map(|arn| write(arn).resource_tags(&ours)).collect(),
        all.iter().map(write).collect(),
        all.iter().map(remove).collect(),
    ]
}

/// Who writes each tag: while something is made, on what carries our tag, on anything, and who removes it.
fn table_of_tags(stage: &Stage) -> Vec<String> {
    let keys = project::text("crates/core/src/naming.rs");
    let keys = keys.split('"').filter(|text| text.starts_with("ami-backup:") && text.len() > "ami-backup:".len());
    let keys: BTreeSet<String> = keys.map(str::to_owned).collect();
    assert!(keys.contains(naming::TAG_TOKEN) && keys.contains(naming::TAG_EXPIRES), "{keys:?}");
    let row = |key: &String| {
        let [creating, ours, others, removing] = tagging(key).map(|requests| those_who_may(stage, &requests));
        [format!("`{key}`"), creating, ours, others, removing]
    };
    merged(keys.iter().map(row).collect())
}

/// Every kind of document in the buckets, with one key of it.
fn documents() -> Vec<(&'static str, String)> {
    let region: Region = "us-east-1".parse().expect("a Region");
    let image: ImageId = IMAGE.parse().expect("an image");
    let bucket: BucketName = BUCKET.parse().expect("a bucket");
    let at = "2026-11-23T02:00:00Z".parse().expect("a time");
    let (files, attempt) = (cleanup::files_prefix("r", &region, at), naming::attempt_prefix("r", at));
    let object = naming::predicted_object_key("", &image);
    let here = |key: String| format!("{BUCKET}/{key}");
    vec![
        ("run of a cleanup", here(cleanup::started_key("r"))),
        ("pointer to a plan", here(cleanup::plan_key("r", &region))),
        ("plan", here(cleanup::part_key(&files, 1))),
        ("lines that are applied", here(cleanup::going_key(&files))),
        ("approval", here(cleanup::approval_key(&files))),
        ("outcomes of a plan", here(cleanup::outcomes_key(&files, 1))),
        ("mark of an undo", here(cleanup::undo_key("r", &region))),
        ("what plans have seen", here(cleanup::known_key(&region))),
        ("report of a cleanup", here(cleanup::report_key("r", at))),
        ("record", here(naming::record_key(&image))),
        ("run of a backup", here(naming::run_key("r"))),
        ("items of a run", here(naming::items_key(&attempt))),
        ("outcome of an image", here(naming::outcome_key(&attempt, 1))),
        ("report of a backup", here(naming::report_key(&attempt))),
        ("lease", here(naming::store_claim_key(&naming::store_claims_prefix(&bucket, &image), 1))),
        ("key of the identity", here("identity/key".into())),
        ("stored object", here(object.clone())),
        ("copy of a record", here(naming::record_beside(&object))),
        ("VM file", format!("{EXPORTS}/exports/export-ami-1.vmdk")),
    ]
}

const WRITES: [&str; 4] = ["s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectTagging"];
const READS: [&str; 2] = ["s3:GetObject", "s3:GetObjectVersion"];

fn on(key: &str, actions: &[&str]) -> Vec<Request> {
    actions.iter().map(|action| Request::new(*action, format!("arn:aws:s3:::{key}"))).collect()
}

/// Who writes each kind of document, and whether others who have every right do, and read it.
fn table_of_documents(stage: &Stage) -> Vec<String> {
    let others = |key: &str, actions: &[&str]| {
        let allowed: Vec<bool> = on(key, actions).iter().map(|request| may(stage, ANOTHER, request)).collect();
        let all_alike = allowed.iter().all(|one| one == &allowed[0]);
        assert!(all_alike, "{key}: {actions:?}: {allowed:?}");
        if allowed[0] { "yes" } else { "no" }.to_owned()
    };
    let row = |(name, key): &(&str, String)| {
        let prefix = PAPERS
            .iter()
            .find(|prefix| key.strip_prefix(&format!("{BUCKET}/")).is_some_and(|k| k.starts_with(**prefix)));
        let place = prefix.map_or_else(|| "elsewhere".to_owned(), |prefix| format!("`{prefix}`"));
        let writers = those_who_may(stage, &on(key, &WRITES));
        [(*name).to_owned(), place, writers, others(key, &WRITES), others(key, &READS)]
    };
    merged(documents().iter().map(row).collect())
}

/// 88. Who can write each tag and each document that is believed is what `SECURITY.md` says.
#[test]
fn who_can_write_what_is_believed_is_written_down() {
    let stage = deployed_stage();
    let text = project::text("SECURITY.md");
    let part = text.split("\n## Who can write what is believed\n").nth(1).expect("a part of SECURITY.md");
    let part = part.split("\n## ").next().unwrap_or_default();
    let rows = part.lines().filter(|line| line.starts_with("| ") && !line.contains(" --- "));
    let written: Vec<&str> =
        rows.filter(|line| !line.starts_with("| tag |") && !line.starts_with("| document |")).collect();
    let computed = [table_of_tags(&stage), table_of_documents(&stage)].concat();
    assert_eq!(written, computed, "\n{}\n", computed.join("\n"));
}

/// 86. Nobody but the stack's roles writes below `cleanups/`, `identity/`, `leases/`, `records/` and `runs/`. Nobody but
///     them reads `identity/`, in any version.
#[test]
fn papers_are_written_by_the_stack_alone() {
    let stage = deployed_stage();
    for prefix in PAPERS {
        let key = format!("{BUCKET}/{prefix}x");
        // Even where the key is one that an object could have.
        for key in [format!("{key}.bin"), format!("{key}.bin.json"), key] {
            for who in [ANOTHER, "start-restore", "check-image"] {
                for request in on(&key, &WRITES) {
                    assert!(!may(&stage, who, &request), "{who} {request:?}");
                }
            }
            for request in on(&key, &READS) {
                assert_eq!(may(&stage, ANOTHER, &request), prefix != "identity/", "{request:?}");
            }
        }
    }
}

/// 86. `start-store` writes leases and objects, `start-restore` objects, and neither writes a tag of ours but in the call
///     that creates.
#[test]
fn what_stores_and_restores_writes_nothing_else() {
    let stage = deployed_stage();
    for who in ["start-store", "start-restore"] {
        let writes =
            documents().into_iter().filter(|(_, key)| on(key, &WRITES).iter().any(|one| may(&stage, who, one)));
        let written: Vec<&str> = writes.map(|(name, _)| name).collect();
        assert_eq!(written, if who == "start-store" { vec!["lease", "stored object"] } else { vec!["stored object"] });
        let [creating, later @ ..] = tagging(naming::TAG_POLICY);
        assert!(creating.iter().any(|one| may(&stage, who, one)), "{who}");
        assert!(!later.iter().flatten().any(|one| may(&stage, who, one)), "{who}");
        let own = Request::new("ec2:CreateTags", format!("{EC2}::image/ami-1"));
        let name = BTreeMap::from([("Name".to_owned(), "x".to_owned())]);
        assert!(may(&stage, who, &own.request_tags(&name)), "{who}: what the object brought");
    }
}

/// 86. An administrator reads, restores and mends what is there when the stack is gone.
#[tokio::test]
async fn an_administrator_can_go_on_without_the_stack() {
    let stage = deployed_stage();
    assert_eq!(backup(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await.verdict(), "OK");
    stage.objects.insert(BUCKET, "identity/key", Default::default()).expect("the bucket");
    let config = stage.config("administrator");
    let (s3, ec2) = (aws_sdk_s3::Client::new(&config), aws_sdk_ec2::Client::new(&config));
    let record = naming::record_key(&IMAGE.parse().expect("an image"));
    let get = |key: &str| s3.get_object().bucket(BUCKET).key(key).send();
    let put = |key: &str| s3.put_object().bucket(BUCKET).key(key).body(b"mended".to_vec().into()).send();

    let read = get(&record).await.expect("a record is read");
    assert!(put(&record).await.is_err() && put("runs/x").await.is_err());
    assert!(s3.delete_object().bucket(BUCKET).key(&record).send().await.is_err());
    assert!(get("identity/key").await.is_err());
    let versions = s3.list_object_versions().bucket(BUCKET).prefix("identity/").send().await.expect("versions");
    let version = versions.versions()[0].version_id().expect("an id").to_owned();
    let of_version = s3.get_object().bucket(BUCKET).key("identity/key").version_id(version);
    assert!(of_version.send().await.is_err());
    let object = format!("{IMAGE}.bin");
    ec2.create_restore_image_task().bucket(BUCKET).object_key(object).name("by-hand").send().await.expect("a restore");

    let policy = json!({"Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}}}});
    s3.put_bucket_policy().bucket(BUCKET).policy(policy.to_string()).send().await.expect("the policy is changed");
    put(&record).await.expect("a record is mended");
    get("identity/key").await.expect("the key is carried to another stack");
    let before = s3.get_object().bucket(BUCKET).key(&record).version_id(read.version_id().expect("a version"));
    let before = before.send().await.expect("the old version").body.collect().await.expect("its text").to_vec();
    assert_ne!(before, b"mended");
}

/// A bucket of another account that lets everybody do everything.
fn with_an_open_bucket() -> Stage {
    let stage = Stage::with(|file| {
        furnish(file);
        let other = file.accounts.iter_mut().find(|account| account.id == OTHER_ACCOUNT).expect("another account");
        let bucket = json!({"name": "open-to-all", "region": HOME});
        other.buckets.push(serde_json::from_value(bucket).expect("a bucket"));
    });
    roles::deploy(&stage);
    let open = json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*",
        "Resource": ["arn:aws:s3:::open-to-all", "arn:aws:s3:::open-to-all/*"]}});
    stage.simulator.permissions().set_bucket("open-to-all", &open).expect("a policy");
    // As with the bucket in FurtherBucketArns.
    for function in functions::ALL {
        let mut role = deployed::role(function.name);
        let statements = role["Statement"].as_array_mut().expect("statements");
        statements.push(json!({"Effect": "Allow", "Action": "s3:*", "Resource": open["Statement"]["Resource"]}));
        stage.simulator.permissions().set_json(function.name, &role).expect("a role");
    }
    stage
}

/// 87. Every call on a bucket names the account that has to own it. A bucket of another account is used only if the
///     deployment names that account.
#[tokio::test]
async fn a_bucket_of_another_account_is_used_only_if_the_deployment_says_so() {
    let input = json!({"input": {"imageIds": [IMAGE], "bucket": "open-to-all", "run": "r"}, "executionName": "e"});
    let stage = with_an_open_bucket();
    let answer = call(&stage, "select-images", input.clone()).await;
    assert_eq!(error_name(&answer), Some("AccessDenied"), "{answer:?}");
    let owned = stage.aws_with("select-images", |name| (name == "FURTHER_BUCKET_OWNER").then(|| OTHER_ACCOUNT.into()));
    let answer = call_with(&owned, stage.now(), "select-images", input).await;
    assert_eq!(answer.map(|selection| selection["status"].clone()), Ok(json!("FOUND")));

    let (bucket, region): (BucketName, Region) =
        ("open-to-all".parse().expect("a bucket"), HOME.parse().expect("a Region"));
    let aws = stage.aws("record-backup");
    assert!(aws.write_text(&bucket, "k", "t".into()).await.is_err());
    assert!(aws.write_text_once(&bucket, "k", "t".into()).await.is_err());
    assert!(aws.read_text(&region, &bucket, "k").await.is_err());
    assert!(aws.object(&region, &bucket, "k").await.is_err());
    assert!(aws.keys(&bucket, "").await.is_err());
    assert!(aws.bucket_region(&bucket).await.is_err());
    assert_eq!(stage.objects.contents()["open-to-all"], Vec::<String>::new());
}

/// 87. Where EC2 makes the calls, the role says whose the bucket has to be.
#[test]
fn a_role_whose_calls_ec2_makes_says_who_owns_the_bucket() {
    let stage = deployed_stage();
    let object = format!("arn:aws:s3:::{BUCKET}/{IMAGE}.bin");
    let file = format!("arn:aws:s3:::{EXPORTS}/exports/a.vmdk");
    for (who, arn) in [("start-store", &object), ("start-restore", &object), ("start-export", &file)] {
        for (owner, allowed) in [(ACCOUNT, true), (OTHER_ACCOUNT, false)] {
            for action in ["s3:PutObject", "s3:GetObject"] {
                // The bucket of another account lets everybody do everything.
                let open = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"});
                let caller = Caller::of_account(ACCOUNT, Some(who));
                let request = Request::new(action, arn).with("aws:ResourceAccount", owner);
                let bucket = arn.split([':', '/']).nth(5).expect("a bucket");
                stage.simulator.permissions().set_bucket(bucket, &open).expect("a policy");
                assert_eq!(stage.simulator.permissions().grants(&caller, &request), allowed, "{who} {action} {owner}");
            }
        }
    }
}

/// The stage with one of the policies that `SECURITY.md` offers in force.
fn under(policy: &str) -> Stage {
    let stage = deployed_stage();
    let (permissions, document) = (stage.simulator.permissions(), deployed::offered_policy(policy));
    if policy == "service-control-policy" {
        permissions.set_organization(&document).expect("a policy");
    } else {
        for who in functions::ALL.iter().map(|one| one.name).chain([ANOTHER]) {
            permissions.set_boundary(who, &document).expect("a policy");
        }
    }
    stage
}

const OFFERED: [&str; 2] = ["service-control-policy", "permission-boundary"];

/// 88. Under the policies that it offers, nobody but the stack's roles writes or removes a tag of ours.
#[tokio::test]
async fn the_offered_policies_refuse_who_tags_as_we_do() {
    use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
    let tag = |key: &str| Tag::builder().key(key).value("true").build();
    for policy in OFFERED {
        let stage = under(policy);
        assert_eq!(
            backup(&stage, json!({"instanceIds": [INSTANCE], "store": false, "run": "r"})).await.verdict(),
            "OK"
        );
        let images = stage.simulator.world().images(ACCOUNT, HOME).into_iter();
        let made = images.filter(|image| image.tags.contains_key(naming::TAG_RUN)).map(|image| image.id).next();
        let made = made.expect("an image of the run");
        let ec2 = aws_sdk_ec2::Client::new(&stage.config(ANOTHER));
        let write = |id: &str, key: &str| ec2.create_tags().resources(id).tags(tag(key)).send();
        for key in [naming::TAG_MANAGED, naming::TAG_EXPIRES, "ami-backup:of-a-later-version"] {
            assert!(write(IMAGE, key).await.is_err() && write(&made, key).await.is_err(), "{policy}: {key}");
            let specification = TagSpecification::builder().resource_type(ResourceType::Image).tags(tag(key)).build();
            let copy = ec2.copy_image().source_image_id(IMAGE).source_region(HOME).name("copy");
            assert!(copy.tag_specifications(specification).send().await.is_err(), "{policy}: {key}");
            let remove = ec2.delete_tags().resources(&made).tags(Tag::builder().key(key).build());
            assert!(remove.send().await.is_err(), "{policy}: {key}");
        }
        assert!(ec2.delete_tags().resources(&made).send().await.is_err(), "{policy}: all tags at once");
        write(IMAGE, "Name").await.expect("other tags are anybody's");
        ec2.delete_tags().resources(IMAGE).send().await.expect("and are removed by anybody");
    }
}

#[tokio::test]
async fn a_backup_and_its_restore_go_on_under_the_offered_policies() {
    for policy in OFFERED {
        let stage = under(policy);
        let input = json!({"imageIds": [IMAGE], "instanceIds": [INSTANCE], "copyTo": ["eu-west-1"], "run": "r"});
        let run = backup(&stage, input).await;
        assert_eq!(run.verdict(), "OK", "{policy}: {:#?}", run.failed());
        let restored = restore(&stage, json!({"imageId": IMAGE})).await;
        assert_eq!(restored.map(|report| report["verdict"].clone()), Ok(json!("OK")), "{policy}");
    }
}
