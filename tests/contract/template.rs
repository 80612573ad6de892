//! Owns the rules about the rest of the template, and `samconfig.toml`.

use std::collections::BTreeSet;

use ami_backup_core::{naming::PAPERS, settings::VARIABLES};
use serde_json::{Value, json};

use crate::project::{list, resources, strings, template, text};

/// Variables that the SDK reads of itself; the template sets them only where a parameter says so.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_S3"];

#[test]
fn the_template_sets_the_variables_that_the_functions_read_and_no_others() {
    let template = template();
    let functions = resources("AWS::Serverless::Function");
    let places = functions.values().map(|one| &one["Properties"]).chain([&template["Globals"]["Function"]]);
    let set: BTreeSet<String> = places
        .filter_map(|place| place["Environment"]["Variables"].as_object())
        .flat_map(|variables| variables.keys().cloned())
        .collect();
    let read: BTreeSet<String> = VARIABLES.iter().chain(&ENDPOINTS).map(|name| (*name).to_owned()).collect();
    assert_eq!(set, read);
}

/// The parameters that a value of the template names, of its conditions too.
fn parameters_of(template: &Value, value: &Value) -> BTreeSet<String> {
    let (parameters, conditions) = (&template["Parameters"], &template["Conditions"]);
    let named = |text: &str| parameters[text].is_object().then(|| text.to_owned());
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(field, value)| match (field.as_str(), value) {
                ("Ref", Value::String(name)) => named(name).into_iter().collect(),
                ("Fn::Sub", Value::String(text)) => {
                    text.split("${").skip(1).filter_map(|rest| named(rest.split('}').next()?)).collect()
                }
                ("Fn::If", Value::Array(sides)) => {
                    let condition = &conditions[sides[0].as_str().expect("a condition")];
                    sides.iter().chain([condition]).flat_map(|side| parameters_of(template, side)).collect()
                }
                (_, value) => parameters_of(template, value),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(|value| parameters_of(template, value)).collect(),
        _ => BTreeSet::new(),
    }
}

/// 85. A change of a parameter that a function is deployed with publishes another version of the function, and no other
///     change of a parameter does. The old version stays, for the executions that began with it.
///
/// SAM does not see parameters (docs/decisions/0024-what-a-deployment-decides.md); rendered by SAM itself, the template is
/// held to the same in `local/tests/test_template.py`.
#[test]
fn the_description_of_a_version_holds_the_parameters_of_its_function() {
    let template = template();
    for (id, function) in resources("AWS::Serverless::Function") {
        let own = &function["Properties"];
        let mut deployed = template["Globals"]["Function"].clone();
        for name in ["Timeout", "MemorySize"] {
            if !own[name].is_null() {
                deployed[name] = own[name].clone();
            }
        }
        let expected = &parameters_of(&template, &deployed) | &parameters_of(&template, &own["Environment"]);
        assert_eq!(parameters_of(&template, &own["VersionDescription"]), expected, "{id}");
        assert_eq!(function["UpdateReplacePolicy"], "Retain", "{id}");
    }
}

#[test]
fn an_endpoint_is_set_only_where_a_parameter_says_so() {
    let template = template();
    for name in ENDPOINTS {
        let value = &template["Globals"]["Function"]["Environment"]["Variables"][name];
        let sides = value["Fn::If"].as_array().unwrap_or_else(|| panic!("{name} is not behind a condition"));
        assert_eq!(sides[2], json!({ "Ref": "AWS::NoValue" }), "{name}");
        let parameter = sides[1]["Ref"].as_str().expect("a parameter");
        assert_eq!(template["Parameters"][parameter]["Default"], "", "{parameter}");
    }
}

#[test]
fn every_parameter_is_described_and_used_and_has_a_default() {
    let whole = text("template.yaml");
    for (name, parameter) in template()["Parameters"].as_object().expect("Parameters") {
        assert!(parameter["Description"].is_string(), "{name} is not described");
        assert!(!parameter["Default"].is_null(), "{name} has no default");
        let uses = ["!Ref ", "${"].into_iter().map(|before| whole.matches(&format!("{before}{name}")).count());
        assert!(uses.sum::<usize>() > 0, "{name} is not used");
    }
}

#[test]
fn no_resource_has_a_fixed_name() {
    let names =
        ["BucketName", "FunctionName", "GroupName", "ManagedPolicyName", "Name", "QueueName", "RoleName", "TopicName"];
    for (id, resource) in template()["Resources"].as_object().expect("Resources") {
        for name in names {
            assert!(resource["Properties"][name].is_null(), "{id} has a {name}");
        }
    }
    for (id, group) in resources("AWS::Logs::LogGroup") {
        let name = &group["Properties"]["LogGroupName"];
        assert!(name.is_null() || name.to_string().contains("${AWS::StackName}"), "{id}");
        assert!(!group["Properties"]["RetentionInDays"].is_null(), "{id} keeps its logs for ever");
    }
}

#[test]
fn buckets_outlive_the_stack_and_are_private_versioned_and_encrypted() {
    let buckets = resources("AWS::S3::Bucket");
    assert!(!buckets.is_empty());
    for (id, bucket) in buckets {
        assert_eq!(bucket["DeletionPolicy"], "Retain", "{id}");
        assert_eq!(bucket["UpdateReplacePolicy"], "Retain", "{id}");
        let properties = &bucket["Properties"];
        assert_eq!(properties["VersioningConfiguration"]["Status"], "Enabled", "{id}");
        assert_eq!(properties["OwnershipControls"]["Rules"][0]["ObjectOwnership"], "BucketOwnerEnforced", "{id}");
        assert!(properties["BucketEncryption"].is_object(), "{id}");
        let blocked = properties["PublicAccessBlockConfiguration"].as_object().expect("a public access block");
        assert!(blocked.len() == 4 && blocked.values().all(|one| *one == true), "{id}");
    }
}

#[test]
fn buckets_abort_incomplete_uploads_and_expire_nothing() {
    for (id, bucket) in resources("AWS::S3::Bucket") {
        let rules =
            list(&bucket["Properties"]["LifecycleConfiguration"]["Rules"]).into_iter().cloned().collect::<Vec<_>>();
        let aborts = |rule: &Value| rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"].is_u64();
        assert!(rules.iter().any(|rule| aborts(rule) && rule["Status"] == "Enabled"), "{id}");
        let expires =
            |rule: &Value| rule.as_object().is_some_and(|fields| fields.keys().any(|key| key.contains("Expiration")));
        assert!(!rules.iter().any(expires), "{id} expires objects");
    }
}

#[test]
fn buckets_are_reached_by_tls_only() {
    let policies = resources("AWS::S3::BucketPolicy");
    for id in resources("AWS::S3::Bucket").into_keys() {
        let policy = policies.values().find(|one| one["Properties"]["Bucket"] == json!({ "Ref": id }));
        let policy = policy.unwrap_or_else(|| panic!("{id} has no policy"));
        // It must go with neither the stack nor its bucket's replacement: the bucket stays.
        assert_eq!(policy["DeletionPolicy"], "Retain", "{id}");
        let refuses = |one: &&Value| {
            one["Effect"] == "Deny"
                && one["Principal"] == "*"
                && one["Condition"]["Bool"]["aws:SecureTransport"] == "false"
        };
        let statements = list(&policy["Properties"]["PolicyDocument"]["Statement"]);
        let refusal = statements.into_iter().find(refuses).unwrap_or_else(|| panic!("{id} is open without TLS"));
        let whole = [json!({ "Fn::GetAtt": [id, "Arn"] }), json!({ "Fn::Sub": format!("${{{id}.Arn}}/*") })];
        assert_eq!(refusal["Resource"], json!(whole), "{id}");
    }
}

/// 86. Nothing denies a change of the bucket's policy.
///
/// But for one that comes without TLS. What is denied is denied to all roles but some, by a condition: a role in `Principal`
/// would become a dead id when the stack goes.
#[test]
fn papers_are_kept_to_roles_by_a_condition() {
    let policy = &resources("AWS::S3::BucketPolicy")["BackupBucketPolicy"]["Properties"]["PolicyDocument"];
    let denies: Vec<&Value> =
        list(&policy["Statement"]).into_iter().filter(|one| one["Condition"]["Bool"].is_null()).collect();
    let every_role: BTreeSet<String> =
        resources("AWS::Serverless::Function").into_keys().map(|id| format!("{id}Role")).collect();
    let mut kept = BTreeSet::new();
    for statement in denies {
        assert_eq!((&statement["Effect"], &statement["Principal"]), (&json!("Deny"), &json!("*")));
        let actions = strings(&statement["Action"]);
        assert!(!actions.iter().any(|action| action.contains("Bucket") || action.contains('*')), "{actions:?}");
        let condition = statement["Condition"].as_object().expect("a condition");
        assert_eq!(condition.keys().collect::<Vec<_>>(), ["ArnNotLike"]);
        let roles = list(&statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"]).into_iter();
        let roles: BTreeSet<String> =
            roles.filter_map(|role| role["Fn::GetAtt"][0].as_str().map(str::to_owned)).collect();
        let place = statement["Resource"]["Fn::Sub"].as_str().expect("a place");
        let prefix = place.strip_prefix("${BackupBucket.Arn}/").and_then(|key| key.strip_suffix('*'));
        if actions.contains(&"s3:GetObject") {
            assert_eq!((prefix, roles), (Some("identity/"), every_role.clone()));
            assert!(actions.contains(&"s3:GetObjectVersion"), "{actions:?}");
        } else {
            assert!(actions.contains(&"s3:PutObject") && actions.contains(&"s3:DeleteObjectVersion"), "{actions:?}");
            kept.insert(prefix.expect("a prefix").to_owned());
        }
    }
    assert_eq!(kept, PAPERS.map(str::to_owned).into());
}

/// ExportImage writes to no bucket that is encrypted with a KMS key.
#[test]
fn the_export_bucket_is_one_that_export_image_accepts() {
    let template = template();
    let bucket = &template["Globals"]["Function"]["Environment"]["Variables"]["EXPORT_BUCKET"]["Ref"];
    let encryption = &template["Resources"][bucket.as_str().expect("a bucket")]["Properties"]["BucketEncryption"];
    let rule = &encryption["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"];
    assert_eq!(*rule, json!({ "SSEAlgorithm": "AES256" }));
}

#[test]
fn the_operator_hears_of_every_machine_that_ends_badly() {
    let functions = resources("AWS::Serverless::Function");
    let events =
        functions.values().filter_map(|one| one["Properties"]["Events"].as_object()).flat_map(|all| all.values());
    let mut heard = BTreeSet::new();
    for pattern in events.filter(|one| one["Type"] == "EventBridgeRule").map(|one| &one["Properties"]["Pattern"]) {
        assert_eq!(pattern["source"], json!(["aws.states"]));
        assert_eq!(pattern["detail"]["status"], json!(["FAILED", "TIMED_OUT", "ABORTED"]));
        heard.extend(
            list(&pattern["detail"]["stateMachineArn"])
                .into_iter()
                .filter_map(|one| one["Ref"].as_str().map(str::to_owned)),
        );
    }
    let machines: BTreeSet<String> = resources("AWS::Serverless::StateMachine").into_keys().collect();
    assert_eq!(heard, machines);
}

#[test]
fn a_schedule_is_off_until_somebody_turns_it_on_and_names_its_run() {
    let template = template();
    let machines = resources("AWS::Serverless::StateMachine");
    let events =
        machines.values().filter_map(|one| one["Properties"]["Events"].as_object()).flat_map(|all| all.values());
    for schedule in events.filter(|one| one["Type"] == "ScheduleV2").map(|one| &one["Properties"]) {
        assert_eq!(schedule["OmitName"], true);
        assert!(schedule["DeadLetterConfig"].is_object());
        let state = schedule["State"]["Fn::If"].as_array().expect("behind a condition");
        assert_eq!(state[1..], [json!("ENABLED"), json!("DISABLED")]);
        let condition = &template["Conditions"][state[0].as_str().expect("a condition")]["Fn::Equals"];
        let parameter = &template["Parameters"][condition[0]["Ref"].as_str().expect("a parameter")];
        assert_ne!(parameter["Default"], condition[1]);
        let input = &template["Parameters"][schedule["Input"]["Ref"].as_str().expect("a parameter")]["Default"];
        let input: Value = serde_json::from_str(input.as_str().expect("text")).expect("the schedule's input is JSON");
        assert_eq!(input["scheduledTime"], "<aws.scheduler.scheduled-time>");
    }
}

#[test]
fn samconfig_has_both_environments() {
    let config = text("samconfig.toml");
    let section = |name: &str| {
        let start = config.find(&format!("\n[{name}]\n")).unwrap_or_else(|| panic!("samconfig.toml has no [{name}]"));
        config[start + 2..].split("\n[").next().unwrap_or_default().to_owned()
    };
    assert!(section("default.build.parameters").contains("cached = false"));
    assert!(section("default.validate.parameters").contains("lint = true"));
    let deploy = section("default.deploy.parameters");
    for needed in ["capabilities = \"CAPABILITY_IAM\"", "resolve_s3 = true", "confirm_changeset = true"] {
        assert!(deploy.contains(needed), "{needed}");
    }
    let invoke = section("local.local_invoke.parameters");
    for needed in ["add_host = [\"host.docker.internal:host-gateway\"]", "env_vars = \".local/env.json\""] {
        assert!(invoke.contains(needed), "{needed}");
    }
    // `sam local invoke` sets only what the template declares, so every endpoint has a parameter here.
    for name in ENDPOINTS {
        let parameter = &template()["Globals"]["Function"]["Environment"]["Variables"][name]["Fn::If"][1]["Ref"];
        let parameter = parameter.as_str().expect("a parameter");
        assert!(invoke.contains(&format!("{parameter}=http")), "{parameter}");
    }
}
