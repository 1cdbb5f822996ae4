//! Continuing the last message of a chat. A template ends each message with a mark of its own, which only the
//! template knows: the place where the message ends is found by a tag put there before rendering, as `transformers` does.

use super::chat::{Chat, Content};
use super::jinja::{Rendered, rstrip, strip};
use crate::error::{Error, Result};

/// The space tells whether the template trimmed the message.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The chat with the tag at its end, and the text to which it was put.
pub(super) fn tagged(chat: &Chat) -> Result<(Chat, String)> {
    let mut chat = chat.clone();
    let last = chat.messages.last_mut().and_then(|message| message.content.as_mut());
    let text = last.and_then(Content::last_text).ok_or_else(|| refused("the last message has no text to continue"))?;
    let plain = text.clone();
    text.push_str(TAG);
    Ok((chat, plain))
}

/// What is before the tag in a rendering of the tagged chat; `plain` is the text that the tag was put to.
pub(super) fn cut(mut rendered: Rendered, plain: &str) -> Result<Rendered> {
    let text = &mut rendered.text;
    let place = text.rfind(TAG.trim_end()).filter(|_| text.contains(strip(plain)));
    let place = place.ok_or_else(|| refused("the chat template does not show the last message as it is"))?;
    let is_trimmed = !text[place..].starts_with(TAG);
    text.truncate(place);
    if is_trimmed {
        text.truncate(rstrip(text).len());
    }
    let end = text.len();
    rendered.outside.retain_mut(|range| {
        range.end = range.end.min(end);
        range.start < range.end
    });
    Ok(rendered)
}

fn refused(why: &str) -> Error {
    Error::invalid("continueFinalMessage", format!("cannot be done: {why}"))
}
