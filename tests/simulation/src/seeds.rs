//! Owns random trials: what a number stands for, and how a failure is made smaller.

use std::{collections::BTreeMap, rc::Rc};

use ami_backup_simulator::account::{
    AccountFile, AutoScalingGroup, Choices, DescribedBucket, Image, LaunchTemplate, RoleNeeds, SecondStore, Settings,
    StoredBytes,
};
use ami_backup_tests::{IMAGE, INSTANCE, demo_account};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    deployment::Product,
    faults::{CallFault, Deed, Fault, TaskFault},
    scenarios::{self, Scenario},
    systematic,
    trial::{self, Outcome, Trial},
};

/// Tasks, calls and states of a trial lie mostly below these; a fault beyond the end never happens.
const TASKS: u32 = 45;
const CALLS: u32 = 260;
const STATES: u32 = 130;

/// The trial of a seed.
pub fn trial_of(product: &Product, scenarios: &[Scenario], seed: u64) -> Trial {
    let mut chance = Rng::with_seed(seed);
    let inputs = scenarios::inputs(scenarios);
    let machines: Vec<&str> = inputs.keys().copied().collect();
    let machine = machines[chance.usize(..machines.len())];
    let scenario = inputs[machine][chance.usize(..inputs[machine].len())];
    let input = mixed(scenario, &inputs[machine], &mut chance);
    let file = account(&mut chance);
    let faults = faults(product, &mut chance);
    Trial {
        machine: machine.to_owned(),
        input,
        before: scenario.before.clone(),
        file,
        // A scenario without a person has one all the same, whom another policy may ask.
        approval: scenario.approval.clone().or_else(|| Some(json!({"approved": true, "by": "operator"}))),
        faults,
        seed: chance.u64(..),
        told: false,
        once: false,
    }
}

/// An example's input, now and then with fields of another example of the same machine.
fn mixed(scenario: &Scenario, others: &[&Scenario], chance: &mut Rng) -> Value {
    let mut input = scenario.input.clone();
    if chance.u32(..3) != 0 {
        return input;
    }
    let other = others[chance.usize(..others.len())];
    if let (Some(fields), Some(more)) = (input.as_object_mut(), other.input.as_object()) {
        for (name, value) in more {
            if chance.bool() {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    input
}

/// A random account: the demo's ids, so that every example means something in it, and all else drawn.
fn account(chance: &mut Rng) -> AccountFile {
    let mut file = if chance.bool() { scenarios::account() } else { demo_account() };
    file.settings = settings(chance);
    let regions = file.accounts[0].regions.clone();
    for region in regions {
        if chance.u32(..6) == 0 {
            file.accounts[0].encryption_by_default.push(region);
        }
    }
    further_images(&mut file, chance);
    further_instances(&mut file, chance);
    if chance.u32(..3) == 0 {
        oddities(&mut file, chance);
    }
    for image in file.accounts[0].images.iter_mut().filter(|image| image.id == IMAGE) {
        if chance.u32(..4) == 0 {
            image.volumes[0].size_gib = chance.u64(1..1_500);
            image.volumes[0].used_gib = Some(chance.u64(1..=image.volumes[0].size_gib));
        }
    }
    file
}

/// Images with the tag that the examples select by.
fn further_images(file: &mut AccountFile, chance: &mut Rng) {
    let Some(model) = file.accounts[0].images.iter().find(|image| image.id == IMAGE).cloned() else { return };
    for number in 0..chance.u32(..3) {
        let mut image = Image { id: format!("ami-0a1b2c3d4e5f7{number:04}"), ..model.clone() };
        image.name = format!("further-{number}");
        let volume = &mut image.volumes[0];
        volume.id = None;
        volume.snapshot_id = None;
        volume.size_gib = chance.u64(1..800);
        volume.used_gib = Some(chance.u64(1..=volume.size_gib));
        file.accounts[0].images.push(image);
    }
}

/// What people typed and EC2 hands on, what is gone and still named, and images that are none or lack something: none of it
/// stops a run.
fn oddities(file: &mut AccountFile, chance: &mut Rng) {
    let Some(mut image) = file.accounts[0].images.iter().find(|image| image.id == IMAGE).cloned() else { return };
    let ours = file.accounts[0].images.iter().filter(|image| image.tags.contains_key("ami-backup:managed"));
    let ours: Vec<&str> = ours.map(|image| image.id.as_str()).collect();
    let meant = ours[chance.usize(..ours.len())];
    let none = ["ami-placeholder", "resolve:ssm:/gone", ""].map(str::to_owned);
    let typed = [format!("{meant} "), meant.to_uppercase()].into_iter().chain(none).nth(chance.usize(..5));
    let (region, id) = (image.region.clone(), "lt-0a1b2c3d4e5f7ffff");
    let template = json!({"region": region, "id": id, "name": "odd", "versions": [
        {"number": 1, "imageId": typed, "snapshotIds": ["snap-?"]}, {"number": 3}]});
    let group = |template: &str, version: &str| {
        json!({"region": region, "name": format!("at-{template}-{version}"),
               "launchTemplate": {"launchTemplateId": template, "version": version}})
    };
    let account = &mut file.accounts[0];
    account.launch_templates.extend(serde_json::from_value::<LaunchTemplate>(template));
    let groups = [group(id, "2"), group("lt-0a1b2c3d4e5f7eeee", "$Latest")];
    account
        .auto_scaling_groups
        .extend(groups.into_iter().filter_map(|one| serde_json::from_value::<AutoScalingGroup>(one).ok()));
    image.id = "aki-0a1b2c3d".into();
    image.volumes.clear();
    image.tags.clear();
    for field in [&mut image.name, &mut image.machine.root_device_name, &mut image.machine.root_device_type] {
        field.clear();
    }
    account.images.push(image.clone());
    image.id = "ami-0a1b2c3d4e5f7ffff".into();
    image.undated = true;
    image.tags = ["ami-backup:managed", "ami-backup:source"].map(|key| (key.to_owned(), "true".to_owned())).into();
    account.images.push(image);
}

/// Instances with that tag.
fn further_instances(file: &mut AccountFile, chance: &mut Rng) {
    let Some(model) = file.accounts[0].instances.iter().find(|one| one.id == INSTANCE).cloned() else { return };
    for number in 0..chance.u32(..2) {
        let mut instance = model.clone();
        instance.id = format!("i-0a1b2c3d4e5f7{number:04}");
        for (at, volume) in (0..).zip(&mut instance.volumes) {
            let at: u32 = at;
            volume.id = Some(format!("vol-0a1b2c3d4e5f7{:04}", number * 10 + at));
        }
        file.accounts[0].instances.push(instance);
    }
}

fn settings(chance: &mut Rng) -> Settings {
    let mut settings = Settings { seed: chance.u64(1..1_000_000), choices: choices(chance), ..Settings::default() };
    // From a gigabyte in a second to one in two minutes: an hour for the demo's images, a day for large ones.
    // Now and then it takes weeks, and nobody waits for it.
    let slowest = if chance.u32(..25) == 0 { 0 } else { 3 };
    let mut speed = || 1 << chance.u32(slowest..11);
    settings.image_mib_per_second = speed();
    settings.store_mib_per_second = speed();
    settings.restore_mib_per_second = speed();
    settings.copy_mib_per_second = speed();
    settings.export_mib_per_second = speed();
    settings.consistency_delay_ms = [0, 200, 3_000, 20_000][chance.usize(..4)];
    settings.api_buckets = chance.bool();
    if chance.u32(..3) == 0 {
        settings.quotas.store_in_progress_gb = chance.u64(1..20);
        settings.quotas.restore_in_progress_gb = chance.u64(1..20);
        settings.quotas.concurrent_image_copies = chance.usize(1..3);
        settings.quotas.concurrent_exports = 1;
    }
    settings
}

/// What the simulator does where AWS documents nothing.
fn choices(chance: &mut Rng) -> Choices {
    let mut of = |codes: &[&str]| codes[chance.usize(..codes.len())].to_owned();
    let over = ["ResourceLimitExceeded", "ResourceCountLimitExceeded", "InvalidRequest", "OperationNotPermitted"];
    let mut choices = Choices {
        store_over_quota_code: of(&over),
        restore_over_quota_code: of(&over),
        copy_over_limit_code: of(&over),
        export_over_limit_code: of(&over),
        second_store_code: of(&["InvalidRequest", "InvalidParameterValue", "ResourceAlreadyExists"]),
        image_not_available_code: of(&["InvalidAMIID.Unavailable", "IncorrectState"]),
        deregistered_image_code: of(&["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"]),
        restored_snapshot_description: of(&["", "Restored for {image}"]),
        alias_denied_code: of(&["SsmAccessDenied", "UnauthorizedOperation"]),
        alias_missing_code: of(&["SsmInvalidParameter", "InvalidParameterValue"]),
        locked_snapshot_code: of(&["OperationNotPermitted", "InvalidParameterValue", "SnapshotLocked"]),
        backup_managed_code: of(&["InvalidParameterValue", "OperationNotPermitted"]),
        restore_without_snapshots_code: of(&["InvalidSnapshot.NotFound", "IncorrectState"]),
        second_usage_report_code: of(&["ResourceLimitExceeded", "IncorrectState"]),
        ..Choices::default()
    };
    let mut yes = || chance.bool();
    choices.gigabytes_count = if yes() { StoredBytes::Written } else { StoredBytes::Volume };
    choices.quotas_per_region = yes();
    choices.second_store = if yes() { SecondStore::Refused } else { SecondStore::Overwrites };
    choices.second_store_per_key = yes();
    choices.described_bucket = if yes() { DescribedBucket::Name } else { DescribedBucket::Path };
    choices.copy_may_share_name = yes();
    choices.copy_keeps_description = yes();
    choices.restore_keeps_boot_mode = yes();
    choices.restore_keeps_tpm_support = yes();
    choices.restore_keeps_imds_support = yes();
    choices.restore_keeps_uefi_data = yes();
    choices.restore_keeps_deprecation = yes();
    choices.restore_keeps_encryption = yes();
    choices.store_and_restore_need = if yes() { RoleNeeds::Everything } else { RoleNeeds::ItsHalf };
    choices.alias_filter_resolves = yes();
    choices.usage_report_counts_owner = yes();
    choices.empty_first_page = yes();
    choices.never_stored_code = yes().then(|| "InvalidAMIID.NotFound".to_owned());
    choices.name_stays_taken_ms = if yes() { 0 } else { 60_000 };
    choices
}

fn faults(product: &Product, chance: &mut Rng) -> Vec<Fault> {
    let functions: Vec<_> = product.functions.values().collect();
    let mut faults: Vec<Fault> = (0..chance.u32(..7)).map(|_| fault(&functions, chance)).collect();
    faults.sort();
    faults.dedup();
    faults
}

fn fault(functions: &[&&'static ami_backup_tests::functions::Function], chance: &mut Rng) -> Fault {
    match chance.u32(..20) {
        0..4 => {
            // Errors that this Task's function cannot raise are as good as others: machines catch all.
            let all = TaskFault::all(&functions[chance.usize(..functions.len())].errors());
            Fault::Task { nth: chance.u32(1..TASKS), what: all[chance.usize(..all.len())].clone() }
        }
        4..13 => Fault::Call {
            nth: chance.u32(1..CALLS),
            what: CallFault::ALL[chance.usize(..CallFault::ALL.len())],
            times: [1, 3, 9][chance.usize(..3)],
        },
        13..15 => Fault::Doomed { nth: chance.u32(1..CALLS) },
        15 => Fault::Stop { nth: chance.u32(1..STATES) },
        16..18 => Fault::Beside { after_ms: 1 << chance.u32(..20) },
        _ => Fault::Person {
            after_s: 1 << chance.u32(..14),
            deed: Deed::ALL[chance.usize(..Deed::ALL.len())],
            to: chance.u32(..40),
        },
    }
}

/// Runs the trial of a seed: first without faults, for what it promises, then with them.
pub fn run(product: &Rc<Product>, trial: &Trial) -> Outcome {
    // What people do is in no promise.
    if trial.faults.is_empty() || trial.faults.iter().any(|fault| matches!(fault, Fault::Person { .. })) {
        return trial::run(product, trial, None);
    }
    let calm = Trial { faults: Vec::new(), once: true, ..trial.clone() };
    let promised = trial::run(product, &calm, None);
    if !promised.complaints.is_empty() {
        return promised;
    }
    let comparable = promised.succeeded() && systematic::is_comparable(&trial.faults);
    let mut outcome = trial::run(product, trial, comparable.then_some(&promised.things));
    if promised.succeeded() && !outcome.succeeded() && outcome.complaints.is_empty() {
        let ends: BTreeMap<_, _> = (1..).zip(outcome.again.iter().map(|ended| &ended.status)).collect();
        outcome.complaints.push(format!("without faults it never comes to what it promised: {ends:?}"));
    }
    outcome
}

/// The smallest set of a trial's faults, one left out after the other, with which it still fails.
pub fn shrunk(trial: &Trial, fails: impl Fn(&Trial) -> bool) -> Trial {
    let mut smallest = trial.clone();
    let mut at = 0;
    while at < smallest.faults.len() {
        let mut fewer = smallest.clone();
        fewer.faults.remove(at);
        if fails(&fewer) {
            smallest = fewer;
        } else {
            at += 1;
        }
    }
    smallest
}
