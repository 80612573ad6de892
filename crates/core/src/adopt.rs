//! Owns the look before a creating call: has an earlier attempt made this image already?
//!
//! CreateImage, CreateRestoreImageTask and RegisterImage take no client token. Their identity is the
//! token tag that the creating call writes; it is looked up first.

use crate::{
    error::{ErrorName, StepError},
    image::{ImageFacts, ImageState},
    naming::{Identity, TAG_TOKEN, token},
    turn::{Look, Turn},
};

/// What to do about an image that should exist once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageStart {
    /// It is there, or on its way.
    Adopt(Box<ImageFacts>),
    /// It is not there: create it under this token.
    Create {
        /// Token of the attempt.
        token: String,
    },
}

/// Decides from the images that carry the run and source of `identity`.
///
/// Attempts are numbered: one that ended in a terminal state is a failed predecessor, and the next has
/// another token.
///
/// # Errors
/// `Conflict` if two images carry one token.
pub fn image_start(identity: &Identity<'_>, found: &[ImageFacts]) -> Result<ImageStart, StepError> {
    for failed in 0..=found.len() {
        let token = token(identity, failed);
        let mut attempt = found.iter().filter(|image| image.tags.get(TAG_TOKEN) == Some(&token));
        match (attempt.next(), attempt.next()) {
            (None, _) => return Ok(ImageStart::Create { token }),
            (Some(one), None) if one.state.is_terminal() => {}
            (Some(one), None) => return Ok(ImageStart::Adopt(Box::new(one.clone()))),
            (Some(one), Some(other)) => {
                return Err(StepError::new(
                    ErrorName::Conflict,
                    format!("find the image that run {} made of {}", identity.run, identity.source),
                    format!("{} and {} carry the same token", one.image_id, other.image_id),
                )
                .in_region(identity.region)
                .leaving(format!("{} and {}, both usable", one.image_id, other.image_id)));
            }
        }
    }
    // Each round passes over at least one image, so `found` runs out before the rounds do.
    Err(StepError::new(ErrorName::Defect, "number the attempts", "there are more attempts than images"))
}

/// The wait for an image that is there already: over if it is available, else the machine checks it.
///
/// # Errors
/// `DeadlineExceeded` if the deadline has passed.
pub fn adopted<S>(turn: Turn<S>, image: &ImageFacts, look: &Look<'_>) -> Result<Turn<S>, StepError> {
    match image.state {
        ImageState::Available => Ok(turn.done("available")),
        _ => turn.in_progress(image.state.as_str(), None, look),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        image::tests::image,
        naming::Purpose,
        turn::{LEAST_BUDGET, Status},
    };

    fn with_attempt(id: &str, identity: &Identity<'_>, number: usize, state: &str) -> ImageFacts {
        let mut made = image(id);
        made.tags.insert(TAG_TOKEN.into(), token(identity, number));
        made.state = ImageState::from(state.to_owned());
        made
    }

    #[test]
    fn what_is_there_is_adopted_and_what_failed_is_not() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let identity =
            Identity { purpose: Purpose::Copy, run: "r", source: "ami-12345678", region: &region, parameters: "" };
        assert_eq!(image_start(&identity, &[])?, ImageStart::Create { token: token(&identity, 0) });

        let failed = with_attempt("ami-00000001", &identity, 0, "failed");
        assert_eq!(
            image_start(&identity, std::slice::from_ref(&failed))?,
            ImageStart::Create { token: token(&identity, 1) }
        );

        let pending = with_attempt("ami-00000002", &identity, 1, "pending");
        assert_eq!(image_start(&identity, &[pending.clone(), failed])?, ImageStart::Adopt(Box::new(pending.clone())));

        let twin = with_attempt("ami-00000003", &identity, 0, "available");
        let other = with_attempt("ami-00000004", &identity, 0, "available");
        assert_eq!(image_start(&identity, &[twin, other]).err().map(|e| e.name), Some(ErrorName::Conflict));
        Ok(())
    }

    #[test]
    fn an_adopted_image_is_waited_for_until_it_is_available() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let now = Timestamp::UNIX_EPOCH;
        let look = Look { doing: "copy ami-12345678", region: &region, now, minimum_wait_seconds: 15 };
        for (state, status) in
            [("available", Status::Done), ("pending", Status::InProgress), ("transient", Status::InProgress)]
        {
            let mut made = image("ami-87654321");
            made.state = ImageState::from(state.to_owned());
            let turn = adopted(Turn::new(()).begun(now, LEAST_BUDGET), &made, &look)?;
            assert_eq!((turn.status, turn.last_seen.as_deref()), (Some(status), Some(state)));
        }
        Ok(())
    }

    #[test]
    fn what_was_made_for_another_purpose_is_left_alone() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let copy =
            Identity { purpose: Purpose::Copy, run: "r", source: "ami-12345678", region: &region, parameters: "" };
        let restore = Identity { purpose: Purpose::Restore, ..copy.clone() };
        let made = with_attempt("ami-00000001", &restore, 0, "available");
        assert_eq!(image_start(&copy, &[made])?, ImageStart::Create { token: token(&copy, 0) });
        Ok(())
    }
}
