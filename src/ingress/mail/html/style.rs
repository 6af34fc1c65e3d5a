//! What a tag's style says about being seen.

use crate::ingress::mail::html::tag::Tag;

/// A colour of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Red, green, blue.
    Solid([u8; 3]),
    /// Nothing is painted.
    Clear,
}

/// What is painted behind a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// One colour.
    Plain(Colour),
    /// A picture or gradient: any text may stand out from it.
    Picture,
}

/// The parts of a style that decide whether text can be seen. `None`: nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Out of sight with everything within, whatever that says of itself.
    pub(super) gone: bool,
    /// Letters too small to be seen (`true`) or of a size to be seen.
    pub(super) tiny: Option<bool>,
    /// `visibility`.
    pub(super) invisible: Option<bool>,
    /// Of the letters.
    pub(super) colour: Option<Colour>,
    /// Behind them.
    pub(super) ground: Option<Ground>,
    /// Blanks and line ends count.
    pub(super) preformatted: Option<bool>,
}

/// Letters up to so many pixels are not read by people.
const TINY_PX: f32 = 2.0;
/// Colours that differ by less in each of red, green and blue look the same.
const SAME: u8 = 16;
/// Rules of one style that are looked at.
const RULES: usize = 100;

impl Look {
    /// Reads the style and the older attributes of a tag.
    pub(super) fn of(tag: &Tag<'_>) -> Self {
        let mut look = Self::default();
        if tag.is_bare() {
            return look;
        }
        if let Some(found) = tag.attribute("bgcolor").and_then(colour) {
            look.ground = Some(Ground::Plain(found));
        }
        if tag.attribute("background").is_some_and(|picture| !picture.is_empty()) {
            look.ground = Some(Ground::Picture);
        }
        if tag.name == "font" {
            look.colour = tag.attribute("color").and_then(colour);
        }
        if let Some(style) = tag.attribute("style") {
            look.add(style);
        }
        look.gone |= tag.attribute("hidden").is_some();
        look
    }

    /// Adds the rules of a style's text.
    pub(super) fn add(&mut self, style: &str) {
        let mut bounds = Bounds::default();
        for rule in style.split(';').take(RULES) {
            let Some((name, value)) = rule.split_once(':') else { continue };
            let value = value.to_ascii_lowercase();
            let value = value.split('!').next().unwrap_or("").trim();
            self.rule(&name.trim().to_ascii_lowercase(), value, &mut bounds);
        }
        self.gone |= bounds.leave_nothing();
    }

    fn rule(&mut self, name: &str, value: &str, bounds: &mut Bounds) {
        match name {
            "display" => self.gone |= value == "none",
            "visibility" => self.invisible = Some(matches!(value, "hidden" | "collapse")),
            "mso-hide" => self.gone |= value == "all",
            "opacity" => self.gone |= number(value).is_some_and(|opacity| opacity <= 0.05),
            "font-size" => self.tiny = pixels(value).map(|size| size <= TINY_PX).or(self.tiny),
            "color" => self.colour = colour(value).or(self.colour),
            "background-color" => self.ground = colour(value).map(Ground::Plain).or(self.ground),
            "background" | "background-image" => self.ground = ground(value).or(self.ground),
            "white-space" => self.preformatted = Some(value.starts_with("pre") || value == "break-spaces"),
            "text-indent" | "left" | "top" | "margin-left" | "margin-top" => {
                bounds.far |= pixels(value).is_some_and(|distance| distance <= -999.0);
            }
            "clip" => {
                bounds.clipped |= value.starts_with("rect(0") && !value.contains(|c: char| matches!(c, '2'..='9'));
            }
            "clip-path" => {
                bounds.clipped |= matches!(value.replace(' ', "").as_str(), "inset(50%)" | "inset(100%)");
            }
            "overflow" | "overflow-y" | "overflow-x" => bounds.cut |= value == "hidden",
            "max-height" | "height" | "max-width" | "width" => {
                bounds.none |= pixels(value).is_some_and(|size| size <= 1.0);
            }
            _ => {}
        }
    }

    /// Whether letters of this colour on this ground can be told from it.
    pub(super) fn is_same(colour: Colour, ground: Ground) -> bool {
        match (colour, ground) {
            (Colour::Clear, _) => true,
            (Colour::Solid(letters), Ground::Plain(Colour::Solid(behind))) => {
                letters.iter().zip(behind).all(|(a, b)| a.abs_diff(b) < SAME)
            }
            (Colour::Solid(_), Ground::Plain(Colour::Clear) | Ground::Picture) => false,
        }
    }
}

/// The box of an element.
#[derive(Default)]
struct Bounds {
    far: bool,
    clipped: bool,
    cut: bool,
    none: bool,
}

impl Bounds {
    const fn leave_nothing(&self) -> bool {
        self.far || self.clipped || (self.cut && self.none)
    }
}

fn number(value: &str) -> Option<f32> {
    let end = value.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(value.len());
    value.get(..end)?.parse().ok()
}

/// A length in pixels. Shares of another length (`%`, `em`) count only when they are nothing.
fn pixels(value: &str) -> Option<f32> {
    let number = number(value)?;
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+')).trim();
    match unit {
        "" | "px" => Some(number),
        "pt" => Some(number * 4.0 / 3.0),
        "em" | "rem" | "ex" | "ch" => Some(number * 16.0),
        "cm" => Some(number * 37.8),
        "mm" => Some(number * 3.78),
        "in" => Some(number * 96.0),
        "%" | "vw" | "vh" if number == 0.0 => Some(0.0),
        _ => None,
    }
}

fn ground(value: &str) -> Option<Ground> {
    if value.contains("url(") || value.contains("gradient") {
        return Some(Ground::Picture);
    }
    let whole = colour(value);
    whole.or_else(|| value.split_ascii_whitespace().find_map(colour)).map(Ground::Plain)
}

/// A colour by name, by number or as `rgb()`; the names that hide text on common grounds.
fn colour(value: &str) -> Option<Colour> {
    let value = value.trim().to_ascii_lowercase();
    if let Some(digits) = value.strip_prefix('#') {
        return hexadecimal(digits.as_bytes());
    }
    if let Some(rest) = value.strip_prefix("rgb") {
        return function(rest);
    }
    Some(Colour::Solid(match value.as_str() {
        "transparent" => return Some(Colour::Clear),
        "white" => [255; 3],
        "black" => [0; 3],
        "snow" => [255, 250, 250],
        "ivory" => [255, 255, 240],
        "whitesmoke" => [245; 3],
        "ghostwhite" => [248, 248, 255],
        "floralwhite" => [255, 250, 240],
        "red" => [255, 0, 0],
        "green" => [0, 128, 0],
        "blue" => [0, 0, 255],
        "navy" => [0, 0, 128],
        "yellow" => [255, 255, 0],
        "silver" => [192; 3],
        "gray" | "grey" => [128; 3],
        "lightgray" | "lightgrey" => [211; 3],
        _ if value.len() == 6 && value.bytes().all(|b| b.is_ascii_hexdigit()) => return hexadecimal(value.as_bytes()),
        _ => return None,
    }))
}

fn hexadecimal(digits: &[u8]) -> Option<Colour> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut values = [0_u8; 8];
    let length = digits.len();
    if !matches!(length, 3 | 4 | 6 | 8) {
        return None;
    }
    for (slot, digit) in values.iter_mut().zip(digits) {
        *slot = value(*digit)?;
    }
    let clear = (length == 4 && values[3] == 0) || (length == 8 && values[6] == 0 && values[7] == 0);
    if clear {
        return Some(Colour::Clear);
    }
    Some(Colour::Solid(match length {
        3 | 4 => [values[0] * 17, values[1] * 17, values[2] * 17],
        _ => [values[0] * 16 + values[1], values[2] * 16 + values[3], values[4] * 16 + values[5]],
    }))
}

/// `(1, 2, 3)`, `a(1 2 3 / 0)`.
fn function(rest: &str) -> Option<Colour> {
    let inner = rest.split_once('(')?.1;
    let mut numbers = inner.split([',', ' ', '/', ')']).filter(|part| !part.is_empty());
    let mut solid = [0_u8; 3];
    for slot in &mut solid {
        let part = numbers.next()?;
        let value = number(part)? * if part.ends_with('%') { 2.55 } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of a byte")]
        let byte = value.clamp(0.0, 255.0) as u8;
        *slot = byte;
    }
    match numbers.next().and_then(number) {
        Some(alpha) if alpha <= 0.05 => Some(Colour::Clear),
        Some(_) | None => Some(Colour::Solid(solid)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Colour, Look, colour};

    #[test]
    fn colours_are_read_in_every_spelling() {
        for white in ["#fff", "#FFFFFF", "white", "rgb(255,255,255)", "rgba(255 255 255 / 1)", "rgb(100%,100%,100%)"] {
            assert_eq!(colour(white), Some(Colour::Solid([255; 3])), "{white}");
        }
        for clear in ["transparent", "rgba(1,2,3,0)", "#0000", "#12345600"] {
            assert_eq!(colour(clear), Some(Colour::Clear), "{clear}");
        }
        assert_eq!(colour("url(x)"), None);
        assert_eq!(colour("#äöü"), None);
    }

    #[test]
    fn styles_that_take_text_out_of_sight_are_known() {
        for style in [
            "DISPLAY : none !important",
            "opacity:0",
            "mso-hide:all",
            "max-height:0;overflow:hidden",
            "overflow:hidden; width:0px",
            "text-indent:-9999px",
            "position:absolute;left:-5000px",
            "clip:rect(0 0 0 0)",
            "clip-path: inset(50%)",
        ] {
            let mut look = Look::default();
            look.add(style);
            assert!(look.gone, "{style}");
        }
        for style in [
            "display:block",
            "opacity:.9",
            "max-height:0",
            "overflow:hidden",
            "left:-5px",
            "width:100%;overflow:hidden",
        ] {
            let mut look = Look::default();
            look.add(style);
            assert!(!look.gone, "{style}");
        }
    }
}
