//! What holds of every plan, over accounts that nobody would think of: images of several families that share snapshots,
//! are used, held, protected, in the bin, without an age, without an object.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*};

use super::{
    account::{Account, BinnedImage, Expiry, Image, Snapshot, Source},
    intent::LeftOver,
    judge::{
        Action, judge,
        tests::{account, id, now},
    },
    plan::{Checked, Checks, Line, Plan},
    policy::{CleanupPolicy, Limits, OrphanPolicy, tests::policy},
    protection::Tool,
    reason::Reason,
    retention::tests::{any_retention, sum},
    usage::User,
};
use crate::{id::SnapshotId, image::ImageState};

/// Numbers of images; those that no image of the account has are images that are gone.
const IMAGES: u32 = 160;
/// Numbers of snapshots.
const SNAPSHOTS: u32 = 240;

fn snapshot_id(number: u32) -> SnapshotId {
    format!("snap-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
}

fn hours_ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

/// Mostly nothing.
fn seldom<T: std::fmt::Debug + Clone + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Option<T>> {
    option::weighted(0.12, value).boxed()
}

fn any_state() -> impl Strategy<Value = ImageState> {
    prop_oneof![
        12 => Just(ImageState::Available),
        1 => Just(ImageState::Disabled),
        1 => Just(ImageState::Pending),
        1 => Just(ImageState::Terminal("failed".into())),
        1 => Just(ImageState::Other("transient".into())),
    ]
}

fn any_expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        4 => Just(Expiry::ByPolicy),
        1 => Just(Expiry::Never),
        4 => (-500_i64..3_000).prop_map(|hours| Expiry::At(hours_ago(hours))),
        1 => Just(Expiry::Unreadable("soon".into())),
    ]
}

fn any_protection() -> impl Strategy<Value = Option<Reason>> {
    seldom(prop_oneof![
        Just(Reason::KeepTag("Keep".into())),
        Just(Reason::Public),
        Just(Reason::ManagedBy(Tool::Backup)),
        Just(Reason::Locked("governance".into())),
    ])
}

prop_compose! {
    fn any_image()(
        number in 0..IMAGES,
        age in option::weighted(0.95, 0_i64..4_000),
        state in any_state(),
        family in option::weighted(0.95, 0..4_u32),
        in_scope in prop::bool::weighted(0.9),
        expiry in any_expiry(),
        protection in any_protection(),
        on in vec(0..SNAPSHOTS, 0..4),
        bin_days in seldom(1..30_u32),
    ) -> Image {
        let mut protections: Vec<Reason> = protection.into_iter().collect();
        if !in_scope {
            protections.push(Reason::NotOurs);
        }
        Image {
            image_id: id(number),
            name: format!("image-{number}"),
            state,
            created_at: age.map(hours_ago),
            family: family.map(|family| format!("family {family}")),
            in_scope,
            expiry,
            protections,
            deprecated_at: None,
            launched_at: None,
            snapshots: on.into_iter().map(snapshot_id).collect(),
            provisioned_gib: 8,
            bin_days,
        }
    }
}

prop_compose! {
    fn any_snapshot()(
        number in 0..SNAPSHOTS,
        managed in prop::bool::weighted(0.8),
        made_for in option::weighted(0.8, 0..IMAGES),
        protection in any_protection(),
        bin_days in seldom(1..30_u32),
    ) -> Snapshot {
        Snapshot {
            snapshot_id: snapshot_id(number),
            managed,
            made_for: made_for.map(id),
            protections: protection.into_iter().collect(),
            provisioned_gib: 8,
            full_bytes: None,
            bin_days,
        }
    }
}

prop_compose! {
    fn any_account()(
        images in vec(any_image(), 0..100),
        snapshots in vec(any_snapshot(), 0..150),
        used in vec(0..IMAGES, 0..12),
        used_snapshots in vec(0..SNAPSHOTS, 0..12),
        binned in vec((0..IMAGES, option::weighted(0.9, vec(0..SNAPSHOTS, 0..4))), 0..4),
        objects in vec((0..IMAGES, 0_u64..10), 0..120),
        orphans in vec((0..SNAPSHOTS, 0_i64..1_000), 0..150),
        left_over in vec((0..SNAPSHOTS, 0..IMAGES, 0_i64..1_000), 0..60),
    ) -> Account {
        let images: BTreeMap<_, _> = images.into_iter().map(|image| (image.image_id.clone(), image)).collect();
        let snapshots: BTreeMap<_, _> = snapshots.into_iter().map(|one| (one.snapshot_id.clone(), one)).collect();
        let mut account = account(images.into_values().collect());
        account.snapshots = snapshots.into_values().collect();
        for number in used {
            account.uses.add(id(number), User::Instance, "i-12345678 (stopped)");
        }
        for number in used_snapshots {
            account.uses.add_snapshot(snapshot_id(number), User::LaunchTemplate, "lt-1 version 1");
        }
        let registered: BTreeSet<_> = account.images.iter().map(|image| image.image_id.clone()).collect();
        let binned = binned.into_iter().map(|(number, on)| BinnedImage {
            image_id: id(number),
            snapshots: on.map(|on| on.into_iter().map(snapshot_id).collect()),
        });
        // An image is registered or in the bin.
        account.binned = binned.filter(|binned| !registered.contains(&binned.image_id)).collect();
        // A leftover is on no image, and was made for the image that is gone.
        let on: BTreeSet<_> = account.images.iter().flat_map(|image| image.snapshots.iter().cloned()).collect();
        for (number, of, hours) in left_over {
            let (snapshot_id, image) = (snapshot_id(number), id(of));
            let snapshot = account.snapshots.iter_mut().find(|one| one.snapshot_id == snapshot_id);
            if let Some(snapshot) = snapshot.filter(|_| !on.contains(&snapshot_id) && !registered.contains(&image)) {
                snapshot.made_for = Some(image.clone());
                let left = LeftOver { images: vec![image], since: hours_ago(hours), intent: "a paper".into() };
                account.left_over.insert(snapshot_id, left);
            }
        }
        account.objects = objects.into_iter().map(|(number, gib)| (id(number), gib << 30)).collect();
        account.orphans_since = orphans.into_iter().map(|(number, hours)| (snapshot_id(number), hours_ago(hours))).collect();
        account
    }
}

/// What a look at single images says: mostly that nobody holds them.
fn any_checks() -> impl Strategy<Value = Checks> {
    let checked = prop_oneof![
        8 => Just(Some(Checked::Free)),
        1 => Just(Some(Checked::Held(vec![Reason::SharedWith("444455556666".into())]))),
        1 => Just(Some(Checked::Unknown("denied".into()))),
        1 => Just(None),
    ];
    let all = usize::try_from(IMAGES).unwrap_or_default();
    vec(checked, all).prop_map(|all| (0..).zip(all).filter_map(|(n, checked)| Some((id(n), checked?))).collect())
}

fn unlimited() -> Limits {
    Limits { images: u32::MAX, orphan_snapshots: u32::MAX, remaining: 1, share_percent: 100 }
}

prop_compose! {
    fn any_policy()(
        retention in option::weighted(0.8, any_retention()),
        require_object in prop::bool::weighted(0.3),
        orphans in option::weighted(0.6, 1..30_u32),
        limits in prop_oneof![Just(unlimited()), (0..20_u32, 0..20_u32).prop_map(|(images, orphan_snapshots)| {
            Limits { images, orphan_snapshots, ..Limits::default() }
        })],
    ) -> CleanupPolicy {
        let base = policy(serde_json::json!({}));
        let orphans = orphans.map(|grace_days| OrphanPolicy { grace_days });
        CleanupPolicy { retention, require_object, orphans, limits, ..base }
    }
}

fn lines(account: &Account, checks: &Checks, policy: &CleanupPolicy) -> Vec<Line> {
    let judged = judge(account, policy, now()).unwrap_or_else(|error| unreachable!("{error}"));
    Plan::new(account, judged, checks, policy, now()).lines().collect()
}

fn actions(lines: &[Line]) -> BTreeMap<String, Action> {
    lines.iter().map(|line| (line.id().to_owned(), line.action())).collect()
}

fn touched(lines: &[Line]) -> BTreeSet<String> {
    lines.iter().filter(|line| line.action() != Action::Keep).map(|line| line.id().to_owned()).collect()
}

fn all_free() -> Checks {
    (0..IMAGES).map(|number| (id(number), Checked::Free)).collect()
}

/// The account after a plan was applied.
fn applied(account: &Account, checks: &Checks, policy: &CleanupPolicy) -> Account {
    let judged = judge(account, policy, now()).unwrap_or_else(|error| unreachable!("{error}"));
    let plan = Plan::new(account, judged, checks, policy, now());
    let gone: BTreeSet<String> = touched(&plan.lines().collect::<Vec<_>>());
    let mut left = account.clone();
    left.orphans_since = plan.orphans_since().clone();
    left.images.retain(|image| !gone.contains(image.image_id.as_str()));
    left.snapshots.retain(|snapshot| !gone.contains(snapshot.snapshot_id.as_str()));
    left
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// No snapshot of an image that stays is deleted, and none that is used, protected, or may be needed by an image that
    /// exists in any form.
    #[test]
    fn no_snapshot_goes_that_anybody_needs(account in any_account(), checks in any_checks(), policy in any_policy()) {
        let lines = lines(&account, &checks, &policy);
        let actions = actions(&lines);
        let exists: BTreeSet<_> = account.images.iter().map(|image| &image.image_id)
            .chain(account.binned.iter().map(|binned| &binned.image_id)).collect();
        for snapshot in account.snapshots.iter().filter(|one| actions[one.snapshot_id.as_str()] != Action::Keep) {
            let on: Vec<_> = account.images.iter().filter(|image| image.snapshots.contains(&snapshot.snapshot_id)).collect();
            for image in &on {
                prop_assert_eq!(actions[image.image_id.as_str()], Action::Deregister);
            }
            prop_assert!(snapshot.protections.is_empty());
            prop_assert!(account.uses.of_snapshot(&snapshot.snapshot_id).is_empty());
            if on.is_empty() {
                let left_over = account.left_over.get(&snapshot.snapshot_id);
                let origins: Vec<_> = left_over.iter().flat_map(|left| &left.images).chain(&snapshot.made_for).collect();
                prop_assert!(!origins.is_empty());
                prop_assert!(origins.iter().all(|origin| !exists.contains(origin)));
                let held = |binned: &BinnedImage| binned.snapshots.as_ref().is_none_or(|on| on.contains(&snapshot.snapshot_id));
                prop_assert!(!account.binned.iter().any(held));
            }
        }
    }

    /// Nothing in use is touched, nor what is held, protected or foreign, nor what could not be looked at.
    #[test]
    fn no_image_goes_that_anything_keeps(account in any_account(), checks in any_checks(), policy in any_policy()) {
        let actions = actions(&lines(&account, &checks, &policy));
        for image in account.images.iter().filter(|image| actions[image.image_id.as_str()] != Action::Keep) {
            prop_assert!(image.in_scope && image.protections.is_empty());
            prop_assert!(account.uses.of_image(&image.image_id).is_empty());
            prop_assert_eq!(checks.get(&image.image_id), Some(&Checked::Free));
            prop_assert!(image.created_at.is_some() && image.family.is_some());
            match &image.expiry {
                Expiry::ByPolicy => prop_assert!(policy.retention.is_some()),
                Expiry::At(at) => prop_assert!(*at <= now()),
                Expiry::Never | Expiry::Unreadable(_) => prop_assert!(false, "{:?}", image.expiry),
            }
            if policy.require_object {
                prop_assert!(account.object_problem(image).is_none());
            }
        }
    }

    /// 46. Each family keeps its last good backup. It keeps whatever is newer than that, and as many of its newest good
    ///     ones as the policy says. A family without a good backup keeps everything.
    ///
    /// Each family keeps its last good backup, whatever is newer than that, and its newest so many; and what goes names
    /// what replaces it.
    #[test]
    fn each_family_keeps_its_newest(account in any_account(), checks in any_checks(), policy in any_policy()) {
        let lines = lines(&account, &checks, &policy);
        let actions = actions(&lines);
        let good = |image: &Image| image.state == ImageState::Available
            && (!policy.require_object || account.object_problem(image).is_none());
        for family in 0..4 {
            let family = format!("family {family}");
            let mut members: Vec<&Image> = account.images.iter()
                .filter(|image| image.in_scope && image.family.as_ref() == Some(&family) && image.created_at.is_some())
                .collect();
            members.sort_by_key(|image| std::cmp::Reverse((image.created_at, image.image_id.clone())));
            let newest = policy.retention.as_ref().map_or(0, |retention| retention.newest).max(1);
            let newest = usize::try_from(newest).unwrap_or(usize::MAX);
            for image in members.iter().filter(|image| good(image)).take(newest) {
                prop_assert_eq!(actions[image.image_id.as_str()], Action::Keep);
            }
            let last_good = members.iter().find(|image| good(image));
            for image in &members {
                if actions[image.image_id.as_str()] == Action::Keep {
                    continue;
                }
                let line = lines.iter().find_map(|line| match line {
                    Line::Image(line) if line.image_id == image.image_id => line.last_good.clone(),
                    _ => None,
                });
                prop_assert_eq!(line.as_ref(), last_good.map(|good| &good.image_id));
                prop_assert!(last_good.is_some_and(|good| good.created_at >= image.created_at));
            }
        }
    }

    #[test]
    fn the_limits_are_kept(account in any_account(), checks in any_checks(), policy in any_policy()) {
        let lines = lines(&account, &checks, &policy);
        let count = |wanted: fn(&Line) -> bool| lines.iter().filter(|line| wanted(line)).count();
        let images = count(|line| matches!(line, Line::Image(line) if line.action != Action::Keep));
        prop_assert!(images <= usize::try_from(policy.limits.images).unwrap_or(usize::MAX));
        let alone = |line: &Line| ["orphan", "left-over"].contains(&&*line.reasons()[0].code);
        let orphans = lines.iter().filter(|line| line.action() != Action::Keep && alone(line)).count();
        prop_assert!(orphans <= usize::try_from(policy.limits.orphan_snapshots).unwrap_or(usize::MAX));
    }

    /// 47. More retention never removes more.
    #[test]
    fn more_retention_never_removes_more(account in any_account(), some in any_retention(), more in any_retention()) {
        let policy = |retention| CleanupPolicy { retention: Some(retention), limits: unlimited(), ..policy(serde_json::json!({})) };
        let less = touched(&lines(&account, &all_free(), &policy(sum(&some, &more))));
        let all = touched(&lines(&account, &all_free(), &policy(some)));
        prop_assert!(less.is_subset(&all), "{:?}", less.difference(&all).collect::<Vec<_>>());
    }

    /// 56. The order of pages and items changes nothing.
    #[test]
    fn the_order_of_pages_and_items_changes_nothing(
        (account, images, snapshots) in any_account().prop_flat_map(|account| {
            let images = Just(account.images.clone()).prop_shuffle();
            let snapshots = Just(account.snapshots.clone()).prop_shuffle();
            (Just(account), images, snapshots)
        }),
        checks in any_checks(),
        policy in any_policy(),
    ) {
        let by_id = |lines: Vec<Line>| -> BTreeMap<String, Line> {
            lines.into_iter().map(|line| (line.id().to_owned(), sorted(line))).collect()
        };
        let mut shuffled = account.clone();
        shuffled.binned.reverse();
        (shuffled.images, shuffled.snapshots) = (images, snapshots);
        prop_assert_eq!(by_id(lines(&account, &checks, &policy)), by_id(lines(&shuffled, &checks, &policy)));
    }

    /// 56. Where no limit and no stage holds anything back, a plan of what a plan left removes nothing.
    ///
    /// A plan of what a plan left takes nothing more: what goes now was no reason for anything to stay.
    #[test]
    fn a_plan_of_what_a_plan_left_removes_nothing(account in any_account(), checks in any_checks(), policy in any_policy()) {
        let policy = CleanupPolicy { limits: unlimited(), ..policy };
        let left = applied(&account, &checks, &policy);
        prop_assert_eq!(touched(&lines(&left, &checks, &policy)), BTreeSet::new());
    }

    /// 51. A listing of the account that cannot be trusted removes nothing and fails the run.
    #[test]
    fn a_listing_that_failed_removes_nothing(
        account in any_account(),
        policy in any_policy(),
        source in prop::sample::select(Source::ALL),
    ) {
        prop_assume!(source.is_needed(&policy));
        let mut account = account;
        account.readings.insert(source, Err("the service is out of order".into()));
        prop_assert!(judge(&account, &policy, now()).is_err());
    }
}

/// A line with its lists in order: which of two images a snapshot goes with first says nothing.
fn sorted(line: Line) -> Line {
    match line {
        Line::Image(mut line) => {
            line.reasons.sort_by(|a, b| a.text.cmp(&b.text));
            Line::Image(line)
        }
        Line::Snapshot(mut line) => {
            line.reasons.sort_by(|a, b| a.text.cmp(&b.text));
            line.images.sort();
            if line.reasons.first().is_some_and(|reason| reason.code == "with-image") {
                line.reasons.clear();
            }
            Line::Snapshot(line)
        }
    }
}
