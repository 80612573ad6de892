//! Owns the rule that a function has one name everywhere: folder, package, binary, template, machine.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::project::{Machine, assert_none, functions, invoked, kebab, list, machines, pascal, resources, text};

fn members(list: &str) -> BTreeSet<String> {
    let manifest = text("Cargo.toml");
    let start = manifest.find(&format!("\n{list} = [")).unwrap_or_else(|| panic!("Cargo.toml has no {list}"));
    let end = manifest[start..].find(']').expect("the list ends") + start;
    manifest[start..end].split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The template's machine whose definition is this file.
fn resource_of(machine: &Machine) -> (String, Value) {
    let uri = format!("state-machines/{}.asl.json", machine.name);
    let mut found = resources("AWS::Serverless::StateMachine")
        .into_iter()
        .filter(|(_, one)| one["Properties"]["DefinitionUri"] == *uri);
    let resource = found.next().unwrap_or_else(|| panic!("template.yaml has no machine for {uri}"));
    assert!(found.next().is_none(), "template.yaml has two machines for {uri}");
    resource
}

#[test]
fn every_folder_of_functions_is_a_member_with_its_own_name() {
    let members: BTreeSet<String> =
        members("members").iter().filter_map(|path| path.strip_prefix("functions/")).map(str::to_owned).collect();
    assert_eq!(members, functions());
    for function in functions() {
        let manifest = text(&format!("functions/{function}/Cargo.toml"));
        let named = manifest.matches(&format!("name = \"{function}\"\n")).count();
        assert_eq!(named, 2, "functions/{function}/Cargo.toml: package and binary are called {function}");
    }
}

#[test]
fn every_function_is_in_the_template_under_its_name() {
    let in_template: BTreeSet<String> = resources("AWS::Serverless::Function")
        .into_iter()
        .map(|(id, resource)| {
            let binary = resource["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap_or_default().to_owned();
            assert_eq!(id, format!("{}Function", pascal(&binary)), "the logical id of {binary}");
            assert_eq!(resource["Metadata"]["BuildMethod"], "rust-cargolambda", "{id}");
            binary
        })
        .collect();
    assert_eq!(in_template, functions());
}

/// A `CodeUri` of its own would give a function a build of its own, SDK included.
#[test]
fn every_function_is_built_in_the_workspace() {
    assert_eq!(crate::project::template()["Globals"]["Function"]["CodeUri"], ".");
    for (id, function) in resources("AWS::Serverless::Function") {
        assert!(function["Properties"]["CodeUri"].is_null(), "{id} has a CodeUri");
    }
}

#[test]
fn every_machine_is_in_the_template_and_every_one_of_the_template_is_a_file() {
    let files: BTreeSet<String> = machines().iter().map(|machine| resource_of(machine).0).collect();
    let in_template: BTreeSet<String> = resources("AWS::Serverless::StateMachine").into_keys().collect();
    assert_eq!(files, in_template);
}

#[test]
fn a_machine_has_the_placeholders_that_the_template_fills_in() {
    for machine in machines() {
        let (id, resource) = resource_of(&machine);
        let filled = resource["Properties"]["DefinitionSubstitutions"].as_object().expect("DefinitionSubstitutions");
        let names: BTreeSet<String> = filled.keys().cloned().collect();
        assert_eq!(machine.placeholders(), names, "{id}");
        for (name, value) in filled {
            let expected = match name.strip_suffix("Arn") {
                Some(function) => json!({ "Ref": format!("{function}Function.Version") }),
                None if name == "Partition" => json!({ "Ref": "AWS::Partition" }),
                None => json!({ "Ref": name }),
            };
            assert_eq!(*value, expected, "{id}: {name}");
        }
    }
}

#[test]
fn every_function_is_used_by_a_machine_and_every_used_one_exists() {
    let machines = machines();
    let used: BTreeSet<String> =
        machines.iter().flat_map(|machine| machine.of_type("Task")).filter_map(|(_, task)| invoked(task)).collect();
    assert_eq!(used, functions());
}

/// The versions (`arn:*`) are those of executions that began before a deployment.
#[test]
fn a_machine_may_invoke_its_functions_in_every_version_and_no_others() {
    for machine in machines() {
        let (id, resource) = resource_of(&machine);
        let statements =
            list(&resource["Properties"]["Policies"]).into_iter().flat_map(|policy| list(&policy["Statement"]));
        let mut allowed = BTreeSet::new();
        for statement in statements.filter(|one| one["Action"] == "lambda:InvokeFunction") {
            allowed.extend(list(&statement["Resource"]).into_iter().map(Value::to_string));
        }
        let expected: BTreeSet<String> = machine
            .placeholders()
            .iter()
            .filter_map(|name| name.strip_suffix("Arn"))
            .flat_map(|name| {
                let function = format!("{name}Function");
                [json!({ "Fn::GetAtt": [function, "Arn"] }), json!({ "Fn::Sub": format!("${{{function}.Arn}}:*") })]
            })
            .map(|arn| arn.to_string())
            .collect();
        assert_eq!(allowed, expected, "{id}");
    }
}

/// Attempt timeout < function timeout < the Task's: a Task that gave up before its function could
/// would start a second one beside it.
#[test]
fn a_task_outlasts_its_function() {
    let template = crate::project::template();
    assert_eq!(template["Globals"]["Function"]["Timeout"], json!({ "Ref": "FunctionTimeoutSeconds" }));
    let functions = crate::project::resources("AWS::Serverless::Function");
    let longest = |function: &str| {
        let own = &functions[&format!("{}Function", pascal(function))]["Properties"]["Timeout"];
        let timeout = if own.is_null() { &template["Globals"]["Function"]["Timeout"] } else { own };
        let parameter = timeout["Ref"].as_str().expect("a parameter");
        template["Parameters"][parameter]["MaxValue"].as_u64().expect("MaxValue")
    };
    let machines = machines();
    assert_none(machines.iter().flat_map(|machine| machine.of_type("Task")).filter_map(|(place, task)| {
        let seconds = task["TimeoutSeconds"].as_u64().unwrap_or_default();
        let longest = longest(&invoked(task).expect("a function"));
        (seconds <= longest).then(|| format!("{place}: {seconds} s, but its function may take {longest} s"))
    }));
}

#[test]
fn names_turn_into_each_other() {
    assert_eq!(pascal("start-store"), "StartStore");
    assert_eq!(kebab("StartStore"), "start-store");
}

/// The suites and the local stack call the handlers by the program of all functions: what is deployed differs from it in
/// these lines only.
#[test]
fn the_program_of_a_function_serves_its_own_handler_under_its_own_name() {
    for function in functions() {
        let source = text(&format!("functions/{function}/src/main.rs"));
        let handler = function.replace('-', "_");
        let body = format!(
            "#[tokio::main(flavor = \"current_thread\")]\nasync fn main() -> Result<(), Error> {{\n    \
             serve(async {{ Aws::load(\"{function}\", settings()?).await }}, {handler}::handle).await\n}}\n"
        );
        assert!(source.ends_with(&body), "functions/{function}/src/main.rs does not end with\n{body}");
    }
}
