//! Owns aliases of images: `resolve:ssm:<name>`, with or without the version of the parameter.

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use crate::permissions::Request;
use crate::world::state::State;

const PREFIX: &str = "resolve:ssm:";

/// What an alias stands for, which needs the caller's right to read the parameter; anything else stands
/// for itself.
pub(super) fn resolve(context: &Context<'_>, state: &State, text: &str) -> Answer<String> {
    let Some(named) = text.strip_prefix(PREFIX) else { return Ok(text.to_owned()) };
    let (name, version) = match named.rsplit_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (named, None),
    };
    let arn = parameter_arn(context.region(), context.account(), name);
    if !context.implied(&Request::new("ssm:GetParameters", arn.as_str())) {
        let code = context.choices().alias_denied_code.clone();
        return Err(Ec2Error { code, ..Ec2Error::unauthorised("ssm:GetParameters", &arn) });
    }
    let here = state.uses.ssm_parameters.iter().filter(|parameter| {
        parameter.account == context.account() && parameter.it.region == context.region() && parameter.it.name == name
    });
    let found = here
        .filter(|parameter| version.is_none_or(|version| parameter.it.version.to_string() == version))
        .max_by_key(|parameter| parameter.it.version);
    found.map(|parameter| parameter.it.value.clone()).ok_or_else(|| {
        let code = &context.choices().alias_missing_code;
        Ec2Error::new(code, format!("The following aliases are invalid: {text}"))
    })
}

/// ARN of a parameter.
pub(super) fn parameter_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:ssm:{region}:{account}:parameter/{}", name.trim_start_matches('/'))
}
