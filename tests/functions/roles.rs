//! Owns whole runs under the roles of the template: each function has exactly the rights that it is
//! deployed with, implied ones included, and must need no other.

use ami_backup_tests::{deployed, functions};

use crate::{
    driver::{backup, restore},
    support::*,
};

/// Gives each function the rights of its role, and the buckets their policies.
pub fn deploy(stage: &Stage) {
    let roles: Vec<(&str, Value)> = functions::ALL.iter().map(|one| (one.name, deployed::role(one.name))).collect();
    let roles = roles.iter().map(|(name, role)| (*name, role));
    deployed::deploy(&stage.simulator, roles, &deployed::bucket_policies());
}

fn denied(stage: &Stage) -> Vec<String> {
    let refused = ["UnauthorizedOperation", "AccessDenied", "AuthorizationError", "Forbidden"];
    let calls = stage.simulator.calls().all().into_iter().filter(|call| refused.contains(&call.outcome.as_str()));
    calls.map(|call| format!("{:?} may not {}:{}", call.function, call.service, call.action)).collect()
}

#[tokio::test]
async fn a_backup_and_its_restores_need_no_right_that_a_role_lacks() {
    let stage = furnished();
    deploy(&stage);
    let run = backup(
        &stage,
        json!({
            "imageIds": [IMAGE], "instanceIds": [INSTANCE], "copyTo": ["eu-west-1", "eu-central-1"],
            "export": {"format": "VMDK"}, "run": "r",
        }),
    )
    .await;
    assert_eq!(denied(&stage), Vec::<String>::new());
    assert_eq!(run.verdict(), "OK", "{:#?}", run.failed());

    for input in [json!({"imageId": IMAGE}), json!({"imageId": IMAGE, "fromSnapshots": true, "run": "again"})] {
        let restored = restore(&stage, input.clone()).await;
        assert_eq!(denied(&stage), Vec::<String>::new(), "{input}");
        assert_eq!(restored.map(|report| report["verdict"].clone()), Ok(json!("OK")), "{input}");
    }
}

#[tokio::test]
async fn a_role_without_a_right_that_storing_implies_fails_the_task_with_the_reason() {
    let stage = furnished();
    deploy(&stage);
    let read_only = json!({"Statement": {"Effect": "Allow", "Action": ["ec2:Describe*", "s3:GetObject", "s3:ListBucket",
        "sts:GetCallerIdentity", "ec2:CreateStoreImageTask", "ec2:CreateTags"], "Resource": "*"}});
    stage.simulator.permissions().set_json("start-store", &read_only).expect("a policy");
    let run = backup(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    assert_eq!(run.verdict(), "FAILED");
}
