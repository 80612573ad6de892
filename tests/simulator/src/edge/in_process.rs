//! Owns the HTTP client that hands the SDK's requests to the simulator without a network.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;

use super::{Reply, Simulator};

/// The simulator as an SDK's connector.
#[derive(Debug, Clone)]
struct InProcess(Simulator);

pub(super) fn client(simulator: Simulator) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(InProcess(simulator));
    http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| connector.clone())
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let simulator = self.0.clone();
        HttpConnectorFuture::new(async move { answer(&simulator, request).await })
    }
}

async fn answer(simulator: &Simulator, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(Box::new(error)))?;
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
    match simulator.handle(http::Request::from_parts(parts, body)).await {
        Reply::Response(response) => HttpResponse::try_from(response.map(SdkBody::from))
            .map_err(|error| ConnectorError::other(Box::new(error), None)),
        Reply::NoReply => Err(ConnectorError::io("the connection was cut before an answer came".into())),
        // What a caller sees of a reply that never comes, without waiting for it.
        Reply::Held => Err(ConnectorError::timeout("no answer came in time".into())),
    }
}
