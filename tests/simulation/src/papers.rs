//! Owns what the plans of cleanups said when a person could read them, and how people change them.

use std::collections::BTreeMap;

use ami_backup_core::Timestamp;
use ami_backup_simulator::objects::{LocalObjects, ObjectStore, StoredObject};
use serde_json::{Value, json};

use crate::faults::Deed;

/// A plan as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Prefix of its files.
    pub prefix: String,
    /// Its Region.
    pub region: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it may be applied.
    pub fresh_until: Timestamp,
    /// Which plan it says it is.
    pub digest: String,
    /// Whether it says that a person has to agree.
    pub asks: bool,
    /// What goes: the action by the id.
    pub going: BTreeMap<String, String>,
    /// Those of them that are snapshots which go by themselves.
    pub alone: usize,
}

/// Every plan that lies in the buckets.
pub async fn plans(objects: &LocalObjects) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (bucket, keys) in objects.contents() {
        for key in keys.iter().filter(|key| key.starts_with("cleanups/") && key.ends_with("/plan.txt")) {
            let body = objects.get(&bucket, key).await.map(|object| object.body).unwrap_or_default();
            plans.extend(plan(key.trim_end_matches("plan.txt"), &String::from_utf8_lossy(&body)));
        }
    }
    plans
}

fn plan(prefix: &str, table: &str) -> Option<Plan> {
    let after = |beginning: &str| table.lines().find_map(|line| line.strip_prefix(beginning));
    let (made_at, rest) = after("made ")?.split_once(", fresh until ")?;
    let going = table.lines().skip_while(|line| *line != "What goes").skip(1).take_while(|line| !line.is_empty());
    let going: Vec<&str> = going.filter(|line| *line != "  nothing").collect();
    let alone = |line: &&&str| line.contains("DELETE_SNAPSHOT") && !line.contains(" is on it and goes");
    let action = |line: &&str| {
        let mut words = line.split_whitespace();
        let (action, id) = (words.next()?, words.next()?);
        Some((id.trim_end_matches(':').to_owned(), action.to_owned()))
    };
    Some(Plan {
        prefix: prefix.to_owned(),
        region: prefix.split('/').nth(2)?.to_owned(),
        made_at: made_at.parse().ok()?,
        fresh_until: rest.split(',').next()?.parse().ok()?,
        digest: after("SHA-256 of going.jsonl: ").unwrap_or_default().to_owned(),
        asks: table.contains("A person has to agree first"),
        alone: going.iter().filter(alone).count(),
        going: going.iter().filter_map(action).collect(),
    })
}

/// What somebody does to the papers of a plan. Returns the object that was changed.
pub async fn change(objects: &LocalObjects, deed: Deed, to: u32) -> Option<String> {
    let all: Vec<(String, String)> = objects
        .contents()
        .into_iter()
        .flat_map(|(bucket, keys)| keys.into_iter().map(move |key| (bucket.clone(), key)))
        .filter(|(_, key)| key.starts_with("cleanups/") && key.ends_with("/going.jsonl"))
        .collect();
    let (bucket, key) = all.get(usize::try_from(to).ok()?.checked_rem(all.len())?)?;
    let prefix = key.trim_end_matches("going.jsonl");
    let (key, text) = match deed {
        Deed::SwapPlan => (key.clone(), with_more(objects, bucket, prefix).await?),
        _ => (format!("{prefix}approval.json"), json!({"approved": true, "by": "somebody else"}).to_string()),
    };
    let object = StoredObject { body: text.into_bytes(), ..StoredObject::default() };
    objects.insert(bucket, &key, object).ok()?;
    Some(format!("{bucket}/{key}"))
}

/// The lines of a plan that go, and those that stay as if they went.
async fn with_more(objects: &LocalObjects, bucket: &str, prefix: &str) -> Option<String> {
    let read = async |name: &str| {
        let body = objects.get(bucket, &format!("{prefix}{name}")).await.ok()?.body;
        String::from_utf8(body).ok()
    };
    let mut text = read("going.jsonl").await?;
    let going: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for line in read("plan-00000.jsonl").await?.lines() {
        let mut line: Value = serde_json::from_str(line).ok()?;
        if line["action"] != "KEEP" {
            continue;
        }
        line["action"] = json!(if line["kind"] == "image" { "DEREGISTER" } else { "DELETE_SNAPSHOT" });
        if line["kind"] == "image" {
            // As if it were replaced by what replaces others of its family.
            let of_family =
                going.iter().find(|other| other["family"] == line["family"] && other["lastGood"].is_string());
            let Some(other) = of_family else { continue };
            line["lastGood"] = other["lastGood"].clone();
        }
        text.push_str(&line.to_string());
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_from_its_table() {
        let table = "Clean-up of account 1 in us-east-1, run r, policy p\n\
            made 2026-11-24T02:00:00Z, fresh until 2026-11-25T02:00:00Z, to be applied\n\
            SHA-256 of going.jsonl: d1\n\nA person has to agree first: all go.\n\nWhat goes\n  \
            DEREGISTER      ami-1 web: retention keeps newer ones\n  \
            DELETE_SNAPSHOT snap-1: ami-1 is on it and goes\n  \
            DELETE_SNAPSHOT snap-2: it was to go with ami-2, which went\n\nWhat stays\n";
        let plan = plan("cleanups/1/us-east-1/2/", table).expect("a plan");
        assert_eq!((plan.region.as_str(), plan.digest.as_str(), plan.asks, plan.alone), ("us-east-1", "d1", true, 1));
        assert_eq!(plan.made_at.to_string(), "2026-11-24T02:00:00Z");
        assert_eq!(plan.fresh_until.to_string(), "2026-11-25T02:00:00Z");
        let going = ["ami-1 DEREGISTER", "snap-1 DELETE_SNAPSHOT", "snap-2 DELETE_SNAPSHOT"];
        assert!(plan.going.iter().map(|(id, action)| format!("{id} {action}")).eq(going));
        assert_eq!(plan_of_nothing().going.len(), 0);
    }

    fn plan_of_nothing() -> Plan {
        let table =
            "made 2026-11-24T02:00:00Z, fresh until 2026-11-25T02:00:00Z, to be applied\n\nWhat goes\n  nothing\n";
        plan("cleanups/1/us-east-1/2/", table).expect("a plan")
    }
}
