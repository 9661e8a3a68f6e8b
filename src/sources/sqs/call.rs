//! One call about one queue.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use http_body_util::LengthLimitError;

use super::counts::{ATTRIBUTES, Answer};
use super::fault::{Fault, Place, Said, shortened};
use super::identity;

/// Counts the messages of the queue at `url`.
///
/// # Errors
/// When SQS does not say, or makes no sense.
pub(super) async fn count(client: &Client, url: String, place: &Place<'_>) -> Result<Answer, Fault> {
    let call = client.get_queue_attributes().queue_url(url);
    let answer = call.set_attribute_names(Some(ATTRIBUTES.to_vec())).send().await;
    match answer {
        Ok(answer) => Answer::of(place.name, answer.attributes()),
        Err(error) => Err(fault(&error, place)),
    }
}

fn fault(error: &SdkError<GetQueueAttributesError>, place: &Place<'_>) -> Fault {
    if let Some(error) = find::<CredentialsError>(error) {
        return identity::fault(error);
    }
    if find::<LengthLimitError>(error).is_some() {
        return Fault::Unexpected(format!("the answer about `{}` is too long, and was not read", place.name));
    }
    match error {
        SdkError::TimeoutError(_) => Fault::Late,
        SdkError::DispatchFailure(failure) => failure
            .as_connector_error()
            .map_or_else(|| Fault::Lost("the call could not be sent".to_owned()), of_connection),
        SdkError::ServiceError(refused) => {
            let said = Said {
                status: refused.raw().status().as_u16(),
                code: refused.err().code(),
                message: refused.err().message(),
            };
            if (200..300).contains(&said.status) { no_sense(place) } else { Fault::said(&said, place) }
        }
        SdkError::ResponseError(_) | SdkError::ConstructionFailure(_) => no_sense(place),
        _ => no_sense(place),
    }
}

fn no_sense(place: &Place<'_>) -> Fault {
    Fault::Unexpected(format!("the answer about `{}` makes no sense", place.name))
}

/// Why there is no connection, or no longer one.
fn of_connection(error: &ConnectorError) -> Fault {
    if error.is_timeout() {
        return Fault::Late;
    }
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    if find(error).is_some_and(refused) {
        return Fault::Lost("connection refused".to_owned());
    }
    let mut root: &dyn Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    // What follows in the text of a certificate that is not trusted are the names that it is for.
    Fault::Lost(shortened(root.to_string().split(';').next().unwrap_or_default()))
}

/// The first error of type `E` among the causes.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
