//! Owns finding out who calls: from the signature, the user agent, the host and the form.

use http::{HeaderMap, Uri, header};

use crate::account::AccountFile;

/// Who calls, as the signature's credential scope and the user agent say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Account of the access key.
    pub account: String,
    /// The access key.
    pub access_key: String,
    /// Function that calls: the `app/<name>` token of the user agent.
    pub function: Option<String>,
    /// Region of the credential scope.
    pub region: String,
    /// Service of the credential scope: `ec2`, `s3`, `sts`, `sns`, `autoscaling` or `rbin`.
    pub service: String,
    /// The task that this call starts is to fail with this reason: a fault rule says so.
    pub fail_task: Option<String>,
}

impl Caller {
    /// Reads a request. Nothing is verified: any secret will do, and any time.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri, body: &[u8], file: &AccountFile) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = pairs(uri.query().unwrap_or_default().as_bytes());
        let credential = text("authorization")
            .split_once("Credential=")
            .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default().to_owned())
            .or_else(|| value(&query, "X-Amz-Credential"));
        let scope = credential.as_deref().map(Scope::parse).unwrap_or_default();
        let host = uri.host().unwrap_or_else(|| text(header::HOST.as_str()));
        let service = match scope.service {
            Some(service) => service,
            None => service_without_signature(host, uri, body),
        };
        let region = scope
            .region
            .or_else(|| text("x-amz-region-set").split(',').next().filter(|one| !one.is_empty()).map(str::to_owned))
            .or_else(|| region_of_host(host))
            .unwrap_or_else(|| file.home.clone());
        let access_key = scope.access_key.unwrap_or_default();
        Self {
            account: account_of(&access_key, file),
            access_key,
            function: function_of(text("x-amz-user-agent")).or_else(|| function_of(text("user-agent"))),
            region,
            service,
            fail_task: None,
        }
    }

    /// A caller of an account, in the home Region of most: a function, or a person.
    pub fn of_account(account: &str, function: Option<&str>) -> Self {
        Self {
            account: account.to_owned(),
            access_key: account.to_owned(),
            function: function.map(str::to_owned),
            region: "us-east-1".to_owned(),
            service: "ec2".to_owned(),
            fail_task: None,
        }
    }

    /// The ARN of the role or user behind the call, as `aws:PrincipalArn` has it.
    pub fn principal(&self) -> String {
        match &self.function {
            Some(function) => format!("arn:aws:iam::{}:role/{function}", self.account),
            None => format!("arn:aws:iam::{}:user/simulated", self.account),
        }
    }

    /// The ARN of who calls, as `GetCallerIdentity` and refusals name it. A function counts as a
    /// session of a role of the same name.
    pub fn arn(&self) -> String {
        match &self.function {
            Some(function) => format!("arn:aws:sts::{}:assumed-role/{function}/{function}", self.account),
            None => self.principal(),
        }
    }
}

/// A signature's credential scope: `<key>/<date>/<region>/<service>/aws4_request`, without the Region
/// where the signature is one of version 4a.
#[derive(Debug, Default)]
struct Scope {
    access_key: Option<String>,
    region: Option<String>,
    service: Option<String>,
}

impl Scope {
    fn parse(credential: &str) -> Self {
        let parts: Vec<&str> = credential.split('/').collect();
        let owned = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        match parts.as_slice() {
            [key, _, region, service, _] => {
                Self { access_key: owned(key), region: owned(region), service: owned(service) }
            }
            [key, _, service, _] => Self { access_key: owned(key), region: None, service: owned(service) },
            _ => Self::default(),
        }
    }
}

/// Account of an access key: the one that lists it, else the key itself if it is twelve digits, else
/// the first.
fn account_of(access_key: &str, file: &AccountFile) -> String {
    if let Some(account) = file.accounts.iter().find(|account| account.access_keys.iter().any(|key| key == access_key))
    {
        return account.id.clone();
    }
    if access_key.len() == 12 && access_key.bytes().all(|byte| byte.is_ascii_digit()) {
        return access_key.to_owned();
    }
    file.accounts.first().map(|account| account.id.clone()).unwrap_or_default()
}

/// The `app/<name>` token of a user agent. The SDK writes it as the last but one kind of token, so the
/// whole text is searched.
fn function_of(user_agent: &str) -> Option<String> {
    user_agent
        .split_whitespace()
        .find_map(|token| token.strip_prefix("app/"))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// Without a signature, the host's name says the service; a form without one is EC2's.
fn service_without_signature(host: &str, uri: &Uri, body: &[u8]) -> String {
    for service in ["ec2", "sts", "sns", "autoscaling", "rbin"] {
        if host.starts_with(&format!("{service}.")) {
            return service.to_owned();
        }
    }
    let form = form(uri, body);
    match value(&form, "Action").as_deref() {
        Some("GetCallerIdentity") => "sts",
        Some("Publish") => "sns",
        Some(_) => "ec2",
        None => "s3",
    }
    .to_owned()
}

/// The Region in `<service>.<region>.amazonaws.com`.
fn region_of_host(host: &str) -> Option<String> {
    let rest = host.strip_suffix(".amazonaws.com")?;
    let region = rest.rsplit('.').next()?;
    (region.matches('-').count() >= 2).then(|| region.to_owned())
}

/// The parameters of a form, in the query or in the body.
pub(super) fn form(uri: &Uri, body: &[u8]) -> Vec<(String, String)> {
    let mut parameters = pairs(uri.query().unwrap_or_default().as_bytes());
    parameters.extend(pairs(body));
    parameters
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(bytes).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}
