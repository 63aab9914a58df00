//! Values that only the server can write as JSON: those of types with a cast to json of their own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A value to be cast to json.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Its type, as SQL names it.
    pub type_name: Arc<str>,
    /// The value as its type's output function writes it.
    pub text: Box<str>,
}

/// The length only: values are never logged.
impl fmt::Debug for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cast({}, {} bytes)", self.type_name, self.text.len())
    }
}

/// What the server made of the casts of one change.
///
/// A change is written once to learn which casts it takes, and where there are any, once more with their answers.
#[derive(Debug, Default)]
pub struct Casts {
    answers: HashMap<Cast, Option<String>>,
    wanted: Vec<Cast>,
}

impl Casts {
    /// What has to be asked before the change is written again; nothing where it is written as it should be.
    #[must_use]
    pub fn take_wanted(&mut self) -> Vec<Cast> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes in an answer; none where the server could not cast the value, which is then sent as its text.
    pub fn answer(&mut self, cast: Cast, json: Option<String>) {
        self.answers.insert(cast, json);
    }

    /// The value's json. One that was not asked for yet is noted as wanted.
    pub(super) fn json(&mut self, type_name: &Arc<str>, text: &[u8]) -> Option<&str> {
        let text = std::str::from_utf8(text).ok()?;
        let cast = Cast { type_name: Arc::clone(type_name), text: text.into() };
        let wanted = &mut self.wanted;
        let answer = self.answers.entry(cast).or_insert_with_key(|cast| {
            wanted.push(cast.clone());
            None
        });
        answer.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_wanted_once() {
        let mut casts = Casts::default();
        let type_name: Arc<str> = "public.hstore".into();
        for _ in 0..2 {
            assert_eq!(casts.json(&type_name, b"a=>1"), None);
        }
        let wanted = casts.take_wanted();
        assert_eq!(wanted.len(), 1);
        casts.answer(wanted[0].clone(), Some("{}".to_owned()));
        assert_eq!(casts.json(&type_name, b"a=>1"), Some("{}"));
        assert!(casts.take_wanted().is_empty());
        assert_eq!(format!("{:?}", wanted[0]), "Cast(public.hstore, 4 bytes)");
    }
}
