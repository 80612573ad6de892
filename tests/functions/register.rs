//! Owns what register-image does: an image is made again from its snapshots.

use ami_backup_simulator::{faults::Effect, world::state::Protection};

use crate::{
    driver::{backup, restore},
    support::*,
};

/// A world in which the demo's image was backed up and deregistered, and its snapshots are left.
async fn only_the_snapshots_are_left(stage: &Stage) {
    assert_eq!(backup(stage, json!({"imageIds": [IMAGE], "run": "r"})).await.verdict(), "OK");
    assert!(stage.simulator.world().deregister(IMAGE));
}

async fn find(stage: &Stage, more: Value) -> Answer {
    let mut input = json!({"imageId": IMAGE, "fromSnapshots": true, "run": "back"});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Ok(call(stage, "find-backup", json!({"input": input})).await?["turn"].clone())
}

#[tokio::test]
async fn a_deregistered_image_is_made_again_from_its_snapshots_as_it_was() {
    for code in ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"] {
        let stage = furnished_with(|settings| settings.choices.deregistered_image_code = code.into());
        let original = stage.simulator.world().image(IMAGE).unwrap();
        only_the_snapshots_are_left(&stage).await;
        let snapshots = Things::now(&stage).await.count("snapshot");
        let report = restore(&stage, json!({"imageId": IMAGE, "fromSnapshots": true})).await.unwrap();
        assert_eq!(report["verdict"], "OK", "{report}");
        let world = stage.simulator.world();
        let image = world.image(report["imageId"].as_str().unwrap()).unwrap();
        assert_eq!(image.machine, original.machine);
        assert_eq!(image.devices, original.devices);
        assert_eq!(image.launch_permissions, original.launch_permissions);
        assert_eq!(image.deprecate_at, original.deprecate_at);
        assert_eq!(image.protection, Protection::On);
        assert_eq!(image.tags.get("Team").map(String::as_str), Some("platform"));
        assert_eq!(image.tags.get("ami-backup:source").map(String::as_str), Some(IMAGE));
        assert_eq!(Things::now(&stage).await.count("snapshot"), snapshots, "no data is copied");
        assert!(image.name.starts_with("golden-2026-11-registered-"), "{}", image.name);
    }
}

#[tokio::test]
async fn every_kind_of_image_is_registered_as_it_was() {
    let ids = ["ami-0a1b2c3d4e5f6aa01", "ami-0a1b2c3d4e5f6aa02", "ami-0a1b2c3d4e5f60014"];
    let stage = Stage::with(|file| {
        add_image(file, ids[0], 8, 3);
        let arm = image_in(file, ids[0]);
        arm.machine.architecture = "arm64".into();
        arm.machine.root_device_name = "/dev/sda1".into();
        arm.volumes[0].device = "/dev/sda1".into();
        let mut data = arm.volumes[0].clone();
        data.device = "/dev/sdf".into();
        data.volume_type = "io2".into();
        data.iops = Some(4_000);
        data.delete_on_termination = false;
        arm.volumes.push(data);
        add_image(file, ids[1], 8, 3);
        let old = image_in(file, ids[1]);
        old.machine.boot_mode = None;
        old.machine.tpm_support = None;
        old.machine.imds_support = None;
        old.machine.ena_support = false;
        old.machine.sriov_net_support = Some("simple".into());
        old.volumes[0].volume_type = "gp3".into();
        old.volumes[0].throughput = Some(250);
        old.volumes[0].iops = Some(3_500);
    });
    for id in ids {
        let original = stage.simulator.world().image(id).unwrap();
        assert_eq!(backup(&stage, json!({"imageIds": [id], "run": id})).await.verdict(), "OK");
        stage.simulator.world().deregister(id);
        let report = restore(&stage, json!({"imageId": id, "fromSnapshots": true})).await.unwrap();
        assert_eq!(report["verdict"], "OK", "{report}");
        let image = stage.simulator.world().image(report["imageId"].as_str().unwrap()).unwrap();
        assert_eq!((image.machine, image.devices), (original.machine, original.devices), "{id}");
    }
}

#[tokio::test]
async fn an_image_whose_reply_was_lost_is_adopted() {
    for delay in [0, 40_000] {
        for name in [json!({}), json!({"name": "given"})] {
            let stage = furnished_with(|settings| settings.consistency_delay_ms = delay);
            only_the_snapshots_are_left(&stage).await;
            let turn = find(&stage, name.clone()).await.unwrap();
            stage.fault("RegisterImage", Effect::HoldReply);
            assert_eq!(error_name(&call(&stage, "register-image", turn.clone()).await), Some("Transient"));
            let turn = done(&stage, "register-image", "check-image", turn).await;
            assert_eq!(turn["subject"]["adopted"], true);
            let registered = own_calls(&stage).filter(|call| call.action == "RegisterImage" && call.outcome == "ok");
            assert_eq!(registered.count(), 1, "{delay} {name}");
        }
    }
}

#[tokio::test]
async fn an_image_that_fails_says_why_and_is_followed_by_another() {
    let stage = furnished();
    only_the_snapshots_are_left(&stage).await;
    stage.fault("RegisterImage", Effect::FailTask { reason: "a broken snapshot".into() });
    let input = json!({"imageId": IMAGE, "fromSnapshots": true, "run": "back"});
    let error = restore(&stage, input.clone()).await.unwrap_err();
    assert!(error.name.as_str() == "ResourceFailed" && error.to_string().contains("a broken snapshot"), "{error}");
    assert_eq!(restore(&stage, input).await.unwrap()["verdict"], "OK");
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_refused_or_a_conflict() {
    let stage = furnished();
    only_the_snapshots_are_left(&stage).await;
    let taken = json!({"imageId": IMAGE, "fromSnapshots": true, "name": "encrypted-image", "run": "back"});
    refused(&stage, "find-backup", json!({"input": taken}), &["name", "ami-0a1b2c3d4e5f60014"]).await;
    let turn = find(&stage, json!({"name": "given"})).await.unwrap();
    stage.simulator.world().change_image("ami-0a1b2c3d4e5f60014", |image| image.name = "given".into());
    assert_eq!(error_name(&call(&stage, "register-image", turn).await), Some("Conflict"));
}

#[tokio::test]
async fn snapshots_that_are_gone_or_broken_are_refused_before_anything_is_made() {
    let input = json!({"input": {"imageId": IMAGE, "fromSnapshots": true, "run": "back"}});
    let snapshot = "snap-0a1b2c3d4e5f60001";
    let stage = furnished();
    stage.objects.remove(BUCKET, &format!("records/{IMAGE}.json"));
    refused(&stage, "find-backup", input.clone(), &["imageId", "no record"]).await;
    only_the_snapshots_are_left(&stage).await;
    stage.simulator.world().change_snapshot(snapshot, |snapshot| snapshot.state = "error".into());
    refused(&stage, "find-backup", input.clone(), &["fromSnapshots", snapshot, "error"]).await;
    let turn = {
        stage.simulator.world().change_snapshot(snapshot, |snapshot| snapshot.state = "completed".into());
        find(&stage, json!({})).await.unwrap()
    };
    stage.simulator.world().remove_snapshot(snapshot);
    refused(&stage, "find-backup", input, &["fromSnapshots", snapshot, "gone"]).await;
    // The snapshot may also go between the two steps.
    let error = call(&stage, "register-image", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "InvalidInput");
    assert!(error.to_string().contains(snapshot), "{error}");
    let mut without = turn;
    without["subject"].as_object_mut().unwrap().remove("record");
    refused(&stage, "register-image", without, &["subject.record"]).await;
}

#[tokio::test]
async fn snapshots_are_registered_where_they_are() {
    let stage = furnished();
    only_the_snapshots_are_left(&stage).await;
    let elsewhere = json!({"imageId": IMAGE, "fromSnapshots": true, "region": "eu-west-1", "run": "back"});
    refused(&stage, "find-backup", json!({"input": elsewhere}), &["region", HOME]).await;
}

/// The snapshot that the demo's image is on, and the one of another image.
const ON: &str = "snap-0a1b2c3d4e5f60001";

/// 71. A snapshot of which owner, description or time of creation contradict the record is not taken, unless the input
/// names it.
#[tokio::test]
async fn a_snapshot_that_contradicts_the_record_is_taken_only_if_the_input_names_it() {
    let stage = furnished();
    only_the_snapshots_are_left(&stage).await;
    stage.simulator.world().change_snapshot(ON, |snapshot| snapshot.description = "another's data".into());
    let asked = |more: Value| {
        let mut input = json!({"imageId": IMAGE, "fromSnapshots": true, "run": "back"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"input": input})
    };
    refused(&stage, "find-backup", asked(json!({})), &["fromSnapshots", ON, "another's data", "trustSnapshots"]).await;
    let other = json!({"trustSnapshots": [ON, "snap-12345678"]});
    refused(&stage, "find-backup", asked(other), &["trustSnapshots[1]", "does not name it"]).await;
    let trusting = json!({"imageId": IMAGE, "fromSnapshots": true, "trustSnapshots": [ON]});
    assert_eq!(restore(&stage, trusting).await.unwrap()["verdict"], "OK");
}

/// A record that was swapped for one that names a snapshot of another image.
#[tokio::test]
async fn an_image_is_not_registered_on_a_snapshot_of_another() {
    let stage = furnished();
    let key = format!("records/{IMAGE}.json");
    let foreign = stage.simulator.world().snapshots_of("ami-0a1b2c3d4e5f60014")[0].id.clone();
    only_the_snapshots_are_left(&stage).await;
    let turn = find(&stage, json!({})).await.unwrap();
    let record = document(&stage, &key).await;
    let swap = |forged: String| assert!(stage.objects.damage(BUCKET, &key, |bytes| *bytes = forged.into_bytes()));
    // Only the mapping: the record's facts know nothing of the snapshot.
    let mut mapped = record.clone();
    mapped["survey"]["image"]["mappings"][0]["ebs"]["snapshotId"] = json!(foreign);
    swap(mapped.to_string());
    let asked = json!({"input": {"imageId": IMAGE, "fromSnapshots": true, "run": "back"}});
    refused(&stage, "find-backup", asked, &["fromSnapshots", &foreign, "says nothing of it"]).await;
    // After the first step has read another record.
    let error = call(&stage, "register-image", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "Conflict", "{error}");
    assert_eq!(asked_to_create(&stage), created(&stage));
    // A record that is not the stack's own names no snapshots.
    let mut elsewhere = turn;
    elsewhere["subject"]["record"]["key"] = json!(format!("{IMAGE}.bin.json"));
    refused(&stage, "register-image", elsewhere, &["subject.record", "own record"]).await;
}
