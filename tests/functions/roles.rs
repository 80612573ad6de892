//! Owns whole runs under the roles of the template: each function has exactly the rights that it is
//! deployed with, implied ones included, and must need no other.

use ami_backup_tests::project;

use crate::{
    driver::{backup, restore},
    support::*,
};

/// Conditions of the template as the demo deploys it. A policy behind any other condition is not there.
const TRUE_CONDITIONS: &[&str] = &["CreatesExportRole"];

/// What `${…}`, `!Ref` and `!GetAtt` mean on the stage.
fn meaning(name: &str) -> String {
    match name {
        "AWS::Partition" => "aws".into(),
        "AWS::Region" => "us-east-1".into(),
        "AWS::AccountId" => ACCOUNT.into(),
        "BackupBucket.Arn" => format!("arn:aws:s3:::{BUCKET}"),
        "ExportBucket.Arn" => format!("arn:aws:s3:::{EXPORTS}"),
        "ExportRole.Arn" => format!("arn:aws:iam::{ACCOUNT}:role/ami-backup-export"),
        "NotificationTopic" => format!("arn:aws:sns:us-east-1:{ACCOUNT}:notices"),
        other => panic!("{other} has no meaning on this stage"),
    }
}

/// A value of the template without intrinsic functions; `None` is `AWS::NoValue`.
fn resolved(value: &Value) -> Option<Value> {
    if let Some(name) = value["Ref"].as_str() {
        return (name != "AWS::NoValue").then(|| meaning(name).into());
    }
    if let Some(path) = value["Fn::GetAtt"].as_array() {
        let path: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
        return Some(meaning(&path.join(".")).into());
    }
    if let Some(text) = value["Fn::Sub"].as_str() {
        let mut parts = text.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("a closing brace");
            whole = whole + &meaning(name) + rest;
        }
        return Some(whole.into());
    }
    if let Some(branches) = value["Fn::If"].as_array() {
        let holds = branches[0].as_str().is_some_and(|name| TRUE_CONDITIONS.contains(&name));
        return resolved(&branches[if holds { 1 } else { 2 }]);
    }
    Some(match value {
        Value::Array(values) => values.iter().filter_map(resolved).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().filter_map(|(name, value)| Some((name.clone(), resolved(value)?))).collect())
        }
        other => other.clone(),
    })
}

/// Gives each function the rights of its role.
fn deploy(stage: &Stage) {
    for (id, function) in project::resources("AWS::Serverless::Function") {
        let name = project::kebab(id.strip_suffix("Function").expect("the name of a function"));
        let policies = resolved(&function["Properties"]["Policies"]).expect("policies");
        let statements: Vec<&Value> =
            project::list(&policies).into_iter().flat_map(|policy| project::list(&policy["Statement"])).collect();
        let policy = json!({ "Statement": statements });
        stage.simulator.permissions().set_json(name, &policy).unwrap_or_else(|error| panic!("{id}: {error}"));
    }
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
