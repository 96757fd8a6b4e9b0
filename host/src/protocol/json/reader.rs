//! JSON (RFC 8259) read where it lies, one value after the other, by whoever knows what should come; and the three words for
//! numbers that JSON does not have, as Python writes them.
//!
//! Knows nothing of the protocol and allocates nothing but for strings with escapes. Most of a request is one long array of
//! numbers: a reader that is asked for a number reads its text once, where `serde_json` reads it twice if the type is
//! not known beforehand.

use std::borrow::Cow;

/// Arrays and objects inside each other: no request needs as many, and each takes some stack.
const MAX_DEPTH: u8 = 128;

/// Numbers that JSON does not have.
pub(in crate::protocol) const NAN: &str = "NaN";
pub(in crate::protocol) const INFINITY: &str = "Infinity";
pub(in crate::protocol) const MINUS_INFINITY: &str = "-Infinity";

/// A place in a text of JSON.
#[derive(Clone, Copy)]
pub(in crate::protocol) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) struct Syntax {
    pub(in crate::protocol) at: usize,
    pub(in crate::protocol) what: &'static str,
}

type Read<T> = Result<T, Syntax>;

impl<'a> Reader<'a> {
    pub(in crate::protocol) fn new(text: &'a [u8]) -> Read<Self> {
        let invalid = |error: std::str::Utf8Error| Syntax { at: error.valid_up_to(), what: "bytes that are not UTF-8" };
        Ok(Self { text: std::str::from_utf8(text).map_err(invalid)?, at: 0, depth: 0 })
    }

    /// The first byte of what comes next, behind white space.
    #[inline]
    pub(in crate::protocol) fn peek(&mut self) -> Read<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(byte),
                None => return Err(self.error("EOF while parsing a value")),
            }
        }
    }

    /// What has not been read.
    pub(in crate::protocol) fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes on behind a value of so many bytes that somebody else has read from the [`rest`](Self::rest).
    pub(in crate::protocol) fn pass(&mut self, length: usize) {
        self.at += length;
    }

    /// What is wrong at this place.
    pub(in crate::protocol) fn error(&self, what: &'static str) -> Syntax {
        Syntax { at: self.at, what }
    }

    /// An array, whose entries `entry` reads. How many there were.
    pub(in crate::protocol) fn array<E: From<Syntax>>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<usize, E> {
        self.open(b'[', "invalid type: expected an array")?;
        let mut entries = 0;
        if self.peek()? != b']' {
            loop {
                entry(self)?;
                entries += 1;
                match self.peek()? {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return Err(self.error("expected `,` or `]`").into()),
                }
            }
        }
        self.close();
        Ok(entries)
    }

    /// An object; `field` reads the value that follows each key.
    pub(in crate::protocol) fn object<E: From<Syntax>>(
        &mut self,
        field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.fields(Self::string, field)
    }

    fn fields<K, E: From<Syntax>>(
        &mut self,
        key: impl Fn(&mut Self) -> Read<K>,
        mut field: impl FnMut(&mut Self, K) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{', "invalid type: expected an object")?;
        if self.peek()? != b'}' {
            loop {
                if self.peek()? != b'"' {
                    return Err(self.error("key must be a string").into());
                }
                let key = key(self)?;
                if self.peek()? != b':' {
                    return Err(self.error("expected `:`").into());
                }
                self.at += 1;
                field(self, key)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return Err(self.error("expected `,` or `}`").into()),
                }
            }
        }
        self.close();
        Ok(())
    }

    /// A string, its escapes resolved.
    pub(in crate::protocol) fn string(&mut self) -> Read<Cow<'a, str>> {
        if self.peek()? != b'"' {
            return Err(self.error("invalid type: expected a string"));
        }
        let here = *self;
        let quoted = self.quoted()?;
        let inner = &quoted[1..quoted.len() - 1];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| here.error("an escape that stands for no character"))
    }

    /// A string, a number or a literal, as it is written.
    pub(in crate::protocol) fn scalar(&mut self) -> Read<&'a str> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'-' if self.rest().starts_with(MINUS_INFINITY.as_bytes()) => self.literal(MINUS_INFINITY),
            b'-' | b'0'..=b'9' => self.number(),
            b'N' => self.literal(NAN),
            b'I' => self.literal(INFINITY),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(self.error("expected a value")),
        }
    }

    /// Steps over `null` if that is what comes.
    pub(in crate::protocol) fn null(&mut self) -> Read<bool> {
        Ok(self.peek()? == b'n' && self.literal("null").map(|_| true)?)
    }

    /// This reader, which is somewhere before `end`, made to end there.
    pub(in crate::protocol) fn until(self, end: &Self) -> Self {
        Self { text: &self.text[..end.at], ..self }
    }

    /// Steps over a value of any kind.
    pub(in crate::protocol) fn skip(&mut self) -> Read<()> {
        match self.peek()? {
            b'[' => self.array(Self::skip).map(drop),
            b'{' => self.fields(Self::quoted, |reader, _| reader.skip()),
            _ => self.scalar().map(drop),
        }
    }

    /// To be asked when everything has been read.
    pub(in crate::protocol) fn end(&mut self) -> Read<()> {
        match self.peek() {
            Ok(_) => Err(self.error("trailing characters")),
            Err(_) => Ok(()),
        }
    }

    fn open(&mut self, bracket: u8, what: &'static str) -> Read<()> {
        if self.peek()? != bracket {
            // Where nothing at all can begin, that is what is wrong.
            let mut other = *self;
            return Err(if matches!(other.rest()[0], b'[' | b'{') || other.scalar().is_ok() {
                self.error(what)
            } else {
                self.error("expected a value")
            });
        }
        if self.depth == MAX_DEPTH {
            return Err(self.error("recursion limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Behind the bracket that [`peek`](Self::peek) found.
    fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// A string with its quotes.
    fn quoted(&mut self) -> Read<&'a str> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0..b' ') => return Err(self.error("control character found while parsing a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("EOF while parsing a string")),
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at])
    }

    fn escape(&mut self) -> Read<()> {
        let length = match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(self.error("invalid escape")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Read<&'a str> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let first = self.byte();
        let digits = self.digits();
        if digits == 0 || digits > 1 && first == Some(b'0') {
            return Err(Syntax { at: start, what: "invalid number" });
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.error("invalid number"));
            }
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.error("invalid number"));
            }
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn literal(&mut self, word: &'static str) -> Read<&'a str> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn accepts(text: &[u8]) -> bool {
        Reader::new(text).and_then(|mut reader| reader.skip().and_then(|()| reader.end())).is_ok()
    }

    /// Text that is JSON, or nearly.
    fn nearly_json() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            r#""[a-z\\"nu0-9dDé\x00-\x1f]{0,8}""#,
            r"-?[0-9]{0,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
            "(true|false|null|nul|True|NaN|Infinity|-Infinity|Nan|-Inf)",
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            let gap = "[ \n]{0,2}";
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..4), gap)
                    .prop_map(|(items, gap)| format!("[{gap}{}{gap}]", items.join(","))),
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}", items.join(", "))),
                prop::collection::vec((r#""[a-z\\"u0d8]{0,7}""#, inner), 0..4).prop_map(|fields| {
                    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key} :{value}")).collect();
                    format!("{{{}}}", fields.join(" ,"))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn but_for_depth_and_three_words_it_takes_what_serde_json_takes_and_nothing_else(text in nearly_json()) {
            // No string here has these letters.
            let plain = [MINUS_INFINITY, INFINITY, NAN].iter().fold(text.clone(), |text, word| text.replace(word, "0"));
            prop_assert_eq!(accepts(text.as_bytes()), serde_json::from_str::<IgnoredAny>(&plain).is_ok(), "{}", text);
        }

        #[test]
        fn strings_are_as_serde_json_reads_them(text in r#""[a-z\\"nu0-9dDcC/é ]{0,12}""#) {
            let mut reader = Reader::new(text.as_bytes()).expect("a string is UTF-8");
            let read = reader.string().and_then(|string| reader.end().map(|()| string.into_owned()));
            prop_assert_eq!(read.ok(), serde_json::from_str::<String>(&text).ok());
        }

        #[test]
        fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..60)) {
            accepts(&text);
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(accepts(nested(128).as_bytes()));
        assert!(!accepts(nested(129).as_bytes()));
        assert!(!accepts("[".repeat(500_000).as_bytes()));
    }
}
