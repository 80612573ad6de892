//! Owns the request rates of EC2's API: one bucket per account, Region and action.

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use crate::world::state::State;

/// Thousandths of a token in one token.
const TOKEN: i128 = 1_000;

/// Capacity in tokens and refill in thousandths of a token per second.
fn bucket(action: &str, plain_listing: bool) -> (i128, i128) {
    match action {
        "CreateStoreImageTask" | "CreateRestoreImageTask" => (50, 100),
        "DescribeStoreImageTasks" => (50, 500),
        "CopyImage" => (100, 1_000),
        "DeregisterImage"
        | "CreateSnapshot"
        | "DeleteSnapshot"
        | "ModifyImageAttribute"
        | "ModifySnapshotAttribute" => (100, 5_000),
        // The tokens of the instances themselves, a thousand and two per second, are not counted.
        "RunInstances" => (5, 2_000),
        "TerminateInstances" => (100, 5_000),
        "CreateTags" | "DeleteTags" => (100, 10_000),
        "DescribeInstances" | "DescribeSnapshots" | "DescribeVolumes" if plain_listing => (50, 10_000),
        read if ["Describe", "Get", "List"].iter().any(|start| read.starts_with(start)) => (100, 20_000),
        _ => (50, 5_000),
    }
}

/// Takes a token for this call, or refuses it.
pub(crate) fn take(context: &Context<'_>, state: &mut State) -> Answer<()> {
    if !context.settings().api_buckets {
        return Ok(());
    }
    let params = &context.params;
    let listing = matches!(context.action, "DescribeInstances" | "DescribeSnapshots" | "DescribeVolumes");
    let plain_listing = listing && params.structures("Filter").is_empty() && params.get("MaxResults").is_none();
    let (capacity, refill) = bucket(context.action, plain_listing);
    // The large and the small bucket of one action are two buckets.
    let name = if plain_listing { format!("{} plain", context.action) } else { context.action.to_owned() };
    let key = [context.account().to_owned(), context.region().to_owned(), name];
    let (level, at) = state.buckets.get(&key).copied().unwrap_or((capacity * TOKEN, context.now));
    let passed = context.now.duration_since(at).as_millis().max(0);
    let gained = passed * refill / 1_000;
    let level = (level + gained).min(capacity * TOKEN);
    if level < TOKEN {
        // The time is not moved, so that nothing of the refill is lost to rounding.
        return Err(Ec2Error::new("RequestLimitExceeded", "Request limit exceeded."));
    }
    state.buckets.insert(key, (level - TOKEN, context.now));
    Ok(())
}
