//! Answers STS: who am I.

use http::StatusCode;

use crate::edge::{Caller, Refusal, escape};

/// Answers one call. `GetCallerIdentity` needs no permission.
pub(crate) fn call(caller: &Caller, action: &str, id: &str) -> Result<String, Refusal> {
    if action != "GetCallerIdentity" {
        return Err(Refusal {
            code: "InvalidAction".to_owned(),
            message: format!("Could not find operation {action} for version 2011-06-15"),
            status: StatusCode::BAD_REQUEST,
        });
    }
    Ok(format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
        escape(&caller.arn()),
        escape(&caller.access_key),
        escape(&caller.account),
    ))
}
