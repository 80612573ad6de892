//! Owns the comparison of what roles allow with what their functions used.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_simulator::calls::Call;
use ami_backup_tests::project;
use serde_json::Value;

/// Function and action, `ec2:CopyImage`.
pub type Used = BTreeSet<(String, String)>;

/// The rights that calls used, those included that others implied.
pub fn used(calls: &[Call]) -> Used {
    calls
        .iter()
        .filter(|call| call.outcome == "ok")
        .filter_map(|call| Some((call.function.clone()?, format!("{}:{}", call.service, right_of(&call.action)))))
        .collect()
}

/// IAM's name for an action of S3, where that is another one.
fn right_of(action: &str) -> &str {
    match action {
        "HeadObject" => "GetObject",
        "HeadBucket" | "ListObjectsV2" => "ListBucket",
        other => other,
    }
}

/// Rights that no run used, and reasons for rights that are used or not there. `reasons` has, by
/// function, the rights that are there although no run uses them.
pub fn complaints(roles: &BTreeMap<&'static str, Value>, used: &Used, reasons: &Value) -> Vec<String> {
    let mut unused = BTreeSet::new();
    for (function, role) in roles {
        for statement in project::list(&role["Statement"]) {
            for action in project::strings(&statement["Action"]) {
                let of_function = used.iter().filter(|(user, _)| user == function);
                if !of_function.into_iter().any(|(_, one)| one.eq_ignore_ascii_case(action)) {
                    unused.insert(((*function).to_owned(), action.to_owned()));
                }
            }
        }
    }
    let explained: BTreeSet<(String, String)> = reasons
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(function, rights)| {
            let rights = rights.as_object().into_iter().flatten();
            rights.map(move |(right, _)| (function.clone(), right.clone()))
        })
        .collect();
    let needless = unused.difference(&explained).map(|(function, right)| format!("{function} never used {right}"));
    let stale = explained.difference(&unused);
    needless.chain(stale.map(|(function, right)| format!("{function}: {right} is used, or not there"))).collect()
}
