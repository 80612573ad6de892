//! Owns the rules about what the template's roles may do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::project::{assert_none, list, machines, resources, strings};

/// The actions that AWS lists for storing and restoring images (EC2 user guide), without a word on which
/// belong to which of the two.
const STORE_AND_RESTORE: [&str; 18] = [
    "ebs:CompleteSnapshot",
    "ebs:GetSnapshotBlock",
    "ebs:ListChangedBlocks",
    "ebs:ListSnapshotBlocks",
    "ebs:PutSnapshotBlock",
    "ebs:StartSnapshot",
    "ec2:CreateRestoreImageTask",
    "ec2:CreateStoreImageTask",
    "ec2:CreateTags",
    "ec2:DescribeStoreImageTasks",
    "ec2:DescribeTags",
    "ec2:GetEbsEncryptionByDefault",
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
    "s3:PutObjectTagging",
];

/// The statements of a list of policies; of an `If`, both sides.
fn statements(policies: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for policy in list(policies) {
        for statement in list(&policy["Statement"]) {
            match statement["Fn::If"].as_array() {
                Some(sides) => found.extend(sides[1..].iter().filter(|side| side["Effect"].is_string())),
                None => found.push(statement),
            }
        }
    }
    found
}

/// Every statement of every function's role that allows something, or that denies it.
fn with_effect(effect: &str) -> Vec<(String, Value)> {
    let functions = resources("AWS::Serverless::Function");
    let pairs = functions.iter().flat_map(|(id, function)| {
        statements(&function["Properties"]["Policies"]).into_iter().map(move |one| (id.clone(), one.clone()))
    });
    pairs.filter(|(_, statement)| statement["Effect"] == effect).collect()
}

/// Every statement that allows a function something.
fn of_functions() -> Vec<(String, Value)> {
    with_effect("Allow")
}

fn actions_of(function: &str) -> BTreeSet<String> {
    let own = of_functions().into_iter().filter(|(id, _)| id == function);
    own.flat_map(|(_, one)| strings(&one["Action"]).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The functions that store or restore: those may do all that AWS lists for it.
fn storing() -> BTreeSet<String> {
    let calls = ["ec2:CreateStoreImageTask", "ec2:CreateRestoreImageTask"];
    let of =
        of_functions().into_iter().filter(|(_, one)| strings(&one["Action"]).iter().any(|name| calls.contains(name)));
    of.map(|(id, _)| id).collect()
}

/// Writing to a bucket that has a KMS key, and reading from it, needs the key.
#[test]
fn who_may_use_further_buckets_may_use_their_keys() {
    for (id, function) in resources("AWS::Serverless::Function") {
        let policies = &function["Properties"]["Policies"];
        let has = |condition: &str| policies.to_string().contains(&format!("[\"{condition}\","));
        assert_eq!(has("HasFurtherBuckets"), has("HasFurtherBucketKeys"), "{id}");
    }
}

#[test]
fn every_function_has_a_role_of_its_own_with_policies_of_its_own() {
    for (id, function) in resources("AWS::Serverless::Function") {
        assert!(function["Properties"]["Role"].is_null(), "{id} borrows a role");
        assert!(!statements(&function["Properties"]["Policies"]).is_empty(), "{id} has no policy");
    }
}

#[test]
fn every_action_of_a_function_is_spelled_out() {
    let all = [of_functions(), with_effect("Deny")].concat();
    assert_none(all.iter().flat_map(|(id, statement)| {
        let wild = strings(&statement["Action"]).into_iter().filter(|action| action.contains('*'));
        wild.map(|action| format!("{id}: {action}")).collect::<Vec<_>>()
    }));
}

/// The tag that a statement asks of a resource, unless the operator has widened it.
fn asks_for_our_tag(statement: &Value) -> bool {
    let condition = match statement["Condition"]["Fn::If"].as_array() {
        Some(sides) => {
            assert_eq!((&sides[0], &sides[1]), (&json!("CleansUnmanaged"), &json!({ "Ref": "AWS::NoValue" })));
            &sides[2]
        }
        None => &statement["Condition"],
    };
    condition["StringEquals"]["aws:ResourceTag/ami-backup:managed"] == "true"
}

/// Functions whose work it is to remove things, or to take back what was done.
const REMOVING: [&str; 2] = ["CleanupSnapshotsFunction", "UndoCleanupFunction"];

/// 64. `cleanup-snapshots` has no right to remove what does not carry our tag, unless the operator widens its role.
///
/// But for the objects that a store or restore task may have to remove, which AWS demands; and for what a clean-up
/// removes, which carries our tag.
#[test]
fn no_function_may_delete_anything() {
    let storing = storing();
    assert_none(of_functions().iter().flat_map(|(id, statement)| {
        let verbs = ["Delete", "Deregister", "Disable", "Terminate", "Cancel", "Reset"];
        let deletes = strings(&statement["Action"]).into_iter().filter(|action| {
            let verb = action.split(':').nth(1).unwrap_or_default();
            let ours = action.starts_with("ec2:") && REMOVING.contains(&id.as_str()) && asks_for_our_tag(statement);
            let needed = *action == "s3:DeleteObject" && storing.contains(id);
            verbs.iter().any(|one| verb.starts_with(one)) && !ours && !needed
        });
        deletes.map(|action| format!("{id}: {action}")).collect::<Vec<_>>()
    }));
}

#[test]
fn only_what_knows_no_resource_is_allowed_on_every_resource() {
    assert_none(of_functions().iter().filter(|(_, one)| one["Resource"] == "*").flat_map(|(id, statement)| {
        let listings = ["ec2:Describe", "ec2:List", "autoscaling:Describe", "rbin:", "imagebuilder:", "ssm:"];
        let known = strings(&statement["Action"]).into_iter().filter(|action| {
            !listings.iter().any(|one| action.starts_with(one)) && *action != "ec2:GetEbsEncryptionByDefault"
        });
        known.map(|action| format!("{id}: {action} on *")).collect::<Vec<_>>()
    }));
}

#[test]
fn tags_are_written_while_creating_or_on_what_is_ours() {
    let storing = storing();
    assert_none(of_functions().into_iter().filter_map(|(id, statement)| {
        let tags = strings(&statement["Action"]).contains(&"ec2:CreateTags");
        let condition = &statement["Condition"]["StringEquals"];
        let bound = condition["ec2:CreateAction"] != Value::Null || asks_for_our_tag(&statement);
        (tags && !bound && !storing.contains(&id)).then(|| format!("{id}: {}", statement["Sid"]))
    }));
}

#[test]
fn what_changes_an_image_changes_only_ours() {
    assert_none(of_functions().into_iter().filter_map(|(id, statement)| {
        let changes = strings(&statement["Action"])
            .iter()
            .any(|action| action.starts_with("ec2:Modify") || action.starts_with("ec2:Enable"));
        let ours = asks_for_our_tag(&statement);
        (changes && !ours).then(|| format!("{id}: {}", statement["Sid"]))
    }));
}

#[test]
fn what_stores_or_restores_may_do_all_that_aws_lists_for_it() {
    let storing = storing();
    assert!(!storing.is_empty());
    for function in storing {
        let actions = actions_of(&function);
        let missing: Vec<&str> = STORE_AND_RESTORE.into_iter().filter(|action| !actions.contains(*action)).collect();
        assert!(missing.is_empty(), "{function}: {missing:?}");
    }
}

#[test]
fn a_role_is_passed_to_one_service_only() {
    let passing: Vec<_> =
        of_functions().into_iter().filter(|(_, one)| strings(&one["Action"]).contains(&"iam:PassRole")).collect();
    assert!(!passing.is_empty());
    for (id, statement) in passing {
        assert_eq!(statement["Condition"]["StringEquals"]["iam:PassedToService"], "vmie.amazonaws.com", "{id}");
        assert_ne!(statement["Resource"], "*", "{id}");
    }
}

/// In the machine's own policy the machine's ARN would be a circle, and without it no child starts.
#[test]
fn a_machine_with_a_distributed_map_may_start_its_own_executions() {
    let policies = resources("AWS::IAM::Policy");
    for machine in machines() {
        let distributed = |state: &Value| state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED";
        if !machine.of_type("Map").into_iter().any(|(_, state)| distributed(state)) {
            continue;
        }
        let (id, _) = resources("AWS::Serverless::StateMachine")
            .into_iter()
            .find(|(_, one)| one["Properties"]["DefinitionUri"] == format!("state-machines/{}.asl.json", machine.name))
            .expect("the machine is in the template");
        let of_role = policies
            .values()
            .filter(|policy| list(&policy["Properties"]["Roles"]).contains(&&json!({ "Ref": format!("{id}Role") })));
        let granted: Vec<&Value> =
            of_role.flat_map(|policy| list(&policy["Properties"]["PolicyDocument"]["Statement"])).collect();
        let starts = granted.iter().any(|one| {
            strings(&one["Action"]).contains(&"states:StartExecution") && one["Resource"] == json!({ "Ref": id })
        });
        assert!(starts, "{id}: no states:StartExecution on itself");
        for action in ["states:DescribeExecution", "states:StopExecution"] {
            assert!(granted.iter().any(|one| strings(&one["Action"]).contains(&action)), "{id}: no {action}");
        }
    }
}
