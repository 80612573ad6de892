//! Owns reading an account: every listing, side by side where none needs another.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError,
    cleanup::{
        account::{Account, BinRule, BinnedImage, Image, Readings, Snapshot, Source},
        run::{Known, RegionWork},
        summary::Removed,
        usage::{Uses, VersionsInUse},
    },
    failure::AwsFailure,
    id::{ImageId, SnapshotId},
    image::{ImageFacts, OddImage, SnapshotFacts},
    naming::record_key,
    record::Record,
};
use futures_util::future::{try_join, try_join3, try_join4};

/// Records that are read for images in the Recycle Bin of which no plan knows the snapshots. The others stay unknown.
const MOST_RECORDS: usize = 1_000;

/// Reads the account of a Region.
///
/// # Errors
/// The refusal of any listing, under its own name.
pub(crate) async fn read(aws: &Aws, work: &RegionWork, known: &Known) -> Result<Account, StepError> {
    let (region, policy) = (&work.region, &work.policy);
    // What every image and every snapshot is looked at by comes first. All of it is short.
    let (account_id, rules, locks, binned) = {
        let account = async { aws.account().await.map_err(|f| f.into_step_error("find out the own account")) };
        let rules = async { aws.bin_rules(region).await.map_err(failed(Source::RecycleBin)) };
        let locks = async { aws.locked_snapshots(region).await.map_err(failed(Source::LockedSnapshots)) };
        let binned = async { aws.binned_images(region).await.map_err(failed(Source::RecycleBin)) };
        try_join4(account, rules, locks, binned).await?
    };
    let things = try_join3(images(aws, work, &rules), snapshots(aws, work, &rules, &locks), objects(aws, work));
    let odd_binned = binned.odd;
    let (((images, odd_images), (snapshots, odd_snapshots), objects), (mut uses, used), binned) =
        try_join3(things, users(aws, work), with_snapshots(aws, binned.images, known)).await?;
    odd_images.into_iter().for_each(|odd| uses.add_odd_image(odd));
    odd_snapshots.iter().for_each(|odd| uses.add_odd_snapshot(odd));
    odd_binned.iter().for_each(|odd| uses.add_odd_binned(odd));
    let mut readings: Readings = used.into_iter().map(|(source, count)| (source, Ok(count))).collect();
    readings.insert(Source::Images, Ok(count(images.len())));
    readings.insert(Source::Snapshots, Ok(count(snapshots.len())));
    readings.insert(Source::LockedSnapshots, Ok(count(locks.len())));
    readings.insert(Source::RecycleBin, Ok(count(binned.len())));
    if policy.require_object {
        readings.insert(Source::Objects, Ok(count(objects.len())));
    }
    Ok(Account {
        account_id,
        region: region.clone(),
        images,
        snapshots,
        uses,
        binned,
        odd_binned,
        objects,
        orphans_since: known.orphans_since.clone(),
        left_over: BTreeMap::new(),
        removed_before: Removed::default(),
        readings,
        last_readings: known.readings.clone(),
    })
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

/// A failed listing removes nothing, and has its own name: what passes is tried again.
fn failed(source: Source) -> impl Fn(AwsFailure) -> StepError {
    move |failure| failure.into_step_error(source.listing()).leaving("nothing was removed")
}

/// The images, each distilled as it comes: a page of what EC2 says takes ten times the memory. And the rows that show none.
async fn images(aws: &Aws, work: &RegionWork, rules: &[BinRule]) -> Result<(Vec<Image>, Vec<OddImage>), StepError> {
    let (mut images, mut odd) = (Vec::new(), Vec::new());
    let each = |row: Result<ImageFacts, OddImage>| match row {
        Ok(facts) => images.push(Image::of(&facts, &work.policy, rules)),
        Err(row) => odd.push(row),
    };
    aws.each_own_image(&work.region, each).await.map_err(failed(Source::Images))?;
    Ok((images, odd))
}

/// The snapshots, each distilled as it comes. And the ids that are none.
async fn snapshots(
    aws: &Aws,
    work: &RegionWork,
    rules: &[BinRule],
    locks: &BTreeMap<SnapshotId, String>,
) -> Result<(Vec<Snapshot>, Vec<String>), StepError> {
    let (mut snapshots, mut odd) = (Vec::new(), Vec::new());
    let each = |row: Result<SnapshotFacts, String>| match row {
        Ok(facts) => {
            let lock = locks.get(&facts.snapshot_id).map(String::as_str);
            snapshots.push(Snapshot::of(&facts, lock, &work.policy, rules));
        }
        Err(id) => odd.push(id),
    };
    aws.each_own_snapshot(&work.region, each).await.map_err(failed(Source::Snapshots))?;
    Ok((snapshots, odd))
}

/// Sizes of the stored objects, where the policy requires them.
async fn objects(aws: &Aws, work: &RegionWork) -> Result<BTreeMap<ImageId, u64>, StepError> {
    if !work.policy.require_object {
        return Ok(BTreeMap::new());
    }
    aws.stored_images(aws.settings().backup_bucket()?).await.map_err(failed(Source::Objects))
}

/// Who uses what, and how many each listing held.
async fn users(aws: &Aws, work: &RegionWork) -> Result<(Uses, Vec<(Source, u64)>), StepError> {
    let (region, which) = (&work.region, work.policy.launch_template_versions);
    let instances = async {
        let mut uses = Uses::default();
        let each = |image: Option<&str>, id: &str, state: &str| uses.add_instance(image, id, state);
        let count = aws.each_instance(region, None, each).await.map_err(failed(Source::Instances))?;
        Ok((uses, count))
    };
    let configurations =
        async { aws.launch_configurations(region).await.map_err(failed(Source::LaunchConfigurations)) };
    let tasks = async { aws.images_in_tasks(region).await.map_err(failed(Source::Tasks)) };
    let templates = async {
        let groups = async { aws.auto_scaling_groups(region).await.map_err(failed(Source::AutoScalingGroups)) };
        let fleets = async { aws.fleets(region).await.map_err(failed(Source::Fleets)) };
        let (groups, fleets) = try_join(groups, fleets).await?;
        let pins: Vec<_> = groups.pins.iter().chain(&fleets.pins).cloned().collect();
        // The default and the latest are listed for all templates at once, others template by template.
        let all = matches!(which, VersionsInUse::All | VersionsInUse::Newest(_));
        let templates = aws.launch_templates(region, &pins, all).await;
        Ok((groups, fleets, pins, templates.map_err(failed(Source::LaunchTemplateVersions))?))
    };
    let ((mut uses, instances), configurations, tasks, (groups, fleets, pins, templates)) =
        try_join4(instances, configurations, tasks, templates).await?;
    let counts = vec![
        (Source::Instances, instances),
        (Source::LaunchConfigurations, count(configurations.len())),
        (Source::Tasks, count(tasks.len())),
        (Source::AutoScalingGroups, groups.count),
        (Source::Fleets, fleets.count),
        // Templates, and not versions: of these, another policy lists others.
        (Source::LaunchTemplateVersions, templates.count),
    ];
    uses.add_launch_templates(&templates, &pins, which);
    groups.seen.into_iter().chain(fleets.seen).chain(configurations).chain(tasks).for_each(|seen| uses.see(seen));
    Ok((uses, counts))
}

/// The snapshots of each image in the bin, which the bin does not tell: as an earlier plan knew them, or a record.
async fn with_snapshots(aws: &Aws, binned: Vec<ImageId>, known: &Known) -> Result<Vec<BinnedImage>, StepError> {
    let unknown = binned.iter().filter(|image| !known.binned.contains_key(image)).take(MOST_RECORDS);
    let keys: Vec<String> = unknown.map(record_key).collect();
    let mut recorded: BTreeMap<ImageId, BTreeSet<SnapshotId>> = BTreeMap::new();
    if !keys.is_empty() {
        let bucket = aws.settings().backup_bucket()?;
        let texts =
            aws.read_readable_texts(bucket, &keys).await.map_err(|f| f.into_step_error("read records of images"))?;
        // A record that cannot be read leaves its image unknown.
        for record in texts.iter().filter_map(|text| Record::from_text(text, "of an image in the Recycle Bin").ok()) {
            let image = record.survey.image;
            recorded.insert(image.image_id.clone(), image.snapshot_ids().into_iter().collect());
        }
    }
    let with = |image_id: ImageId| {
        let snapshots = known.binned.get(&image_id).or_else(|| recorded.get(&image_id)).cloned();
        BinnedImage { image_id, snapshots }
    };
    Ok(binned.into_iter().map(with).collect())
}
