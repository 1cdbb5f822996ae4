//! Continuing the last message of a chat. Only the template knows what it prints after a message. So a tag is put at
//! the end of the message before rendering, and the rendered text is cut at the tag, as `transformers` does.

use super::chat::{Chat, Content};
use super::jinja::{Rendered, rstrip, strip};
use crate::error::{Error, Result};

/// The final space shows whether the template trims the message.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The chat with the tag at the end of its last message, and the text of that message without the tag.
pub(super) fn tagged(chat: &Chat) -> Result<(Chat, String)> {
    let mut chat = chat.clone();
    let last = chat.messages.last_mut().and_then(|message| message.content.as_mut());
    let text = last.and_then(Content::last_text).ok_or_else(|| refused("the last message has no text to continue"))?;
    let plain = text.clone();
    text.push_str(TAG);
    Ok((chat, plain))
}

/// The rendered text before the tag; `plain` is the text of the message without the tag.
pub(super) fn cut(mut rendered: Rendered, plain: &str) -> Result<Rendered> {
    let text = &mut rendered.text;
    let place = text.rfind(TAG.trim_end()).filter(|_| text.contains(strip(plain)));
    let place = place.ok_or_else(|| refused("the chat template does not show the last message unchanged"))?;
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
