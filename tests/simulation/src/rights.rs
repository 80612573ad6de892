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

/// Rights that no run used and that have no reason, and reasons for rights that no role has. `reasons`
/// has, by function, the rights that hardly a run uses, and why they are there.
pub fn complaints(roles: &BTreeMap<&'static str, Value>, used: &Used, reasons: &Value) -> Vec<String> {
    let mut all = BTreeSet::new();
    for (function, role) in roles {
        for statement in project::list(&role["Statement"]).into_iter().filter(|one| one["Effect"] == "Allow") {
            let actions = project::strings(&statement["Action"]);
            all.extend(actions.into_iter().map(|action| ((*function).to_owned(), action.to_owned())));
        }
    }
    let has_reason = |(function, right): &&(String, String)| reasons[function.as_str()][right.as_str()].is_string();
    let is_used = |(function, right): &&(String, String)| {
        used.iter().any(|(user, action)| user == function && action.eq_ignore_ascii_case(right))
    };
    let needless = all.iter().filter(|one| !is_used(one) && !has_reason(one));
    let needless = needless.map(|(function, right)| format!("{function} may {right}, and no run used it"));
    let explained = reasons.as_object().into_iter().flatten().flat_map(|(function, rights)| {
        rights.as_object().into_iter().flatten().map(move |(right, _)| (function.clone(), right.clone()))
    });
    let stale = explained.filter(|one| !all.contains(one));
    let stale = stale.map(|(function, right)| format!("{function} has a reason for {right}, and its role has not"));
    needless.chain(stale).collect()
}
