//! What a function is, and the one place a component keeps it. It lives as long as the instance does.

use std::cell::RefCell;

use crate::bindings::types;
use crate::{Request, Result, Values, ahead};

/// A model function. [`export!`](crate::export) makes it the component's answer to requests.
pub trait Function: Sized + 'static {
    /// Makes the function ready: loads models, reads assets. Called once per instance, before its first request; if it
    /// fails, that request fails with it and the next one tries again.
    ///
    /// With `export!(Name, init)` it is called when the bundle is built, and all instances begin with what it made. Then
    /// there are no models to run yet, nothing may be printed or kept open, clocks stand still, and what is random is the
    /// same in every instance.
    ///
    /// # Errors
    /// Whatever the first request shall be answered with; or why there can be no bundle.
    fn init() -> Result<Self>;

    /// Answers a request. What it keeps in `self` is there for this instance's later requests, but requests are spread
    /// over instances that come and go: a cache may live here, nothing more.
    ///
    /// # Errors
    /// Why there is no answer.
    fn predict(&mut self, request: Request) -> Result<Values>;
}

/// A function that can also say why it answers as it does: `export!(Name, explainer)`.
pub trait Explainer: Function {
    /// Explains the answer that `predict` gives to this request.
    ///
    /// # Errors
    /// Why there is no explanation.
    fn explain(&mut self, request: Request) -> Result<Values>;
}

/// Where [`export!`](crate::export) keeps the instance's function. An instance takes one request at a time, so the
/// borrow below never meets another.
#[derive(Debug)]
#[doc(hidden)]
pub struct Slot<F> {
    function: RefCell<Option<F>>,
}

type Answer = Result<Vec<types::NamedValue>, types::Error>;

impl<F> Slot<F> {
    /// A slot before the first request.
    #[expect(clippy::new_without_default, reason = "used in a const block, where Default cannot be called")]
    pub const fn new() -> Self {
        Self { function: RefCell::new(None) }
    }
}

impl<F: Function> Slot<F> {
    /// Answers a request of the host.
    ///
    /// # Errors
    /// What the function failed with.
    pub fn predict(&self, request: types::Request) -> Answer {
        self.answer(request, F::predict)
    }

    /// Fills the slot before there are requests.
    ///
    /// # Errors
    /// What the function failed with.
    pub fn init(&self) -> Result<(), String> {
        let function = ahead::run(F::init).map_err(|error| error.to_string())?;
        *self.function.borrow_mut() = Some(function);
        Ok(())
    }

    fn answer(&self, request: types::Request, verb: fn(&mut F, Request) -> Result<Values>) -> Answer {
        let mut slot = self.function.borrow_mut();
        let function = match &mut *slot {
            Some(function) => function,
            empty => empty.insert(F::init()?),
        };
        Ok(verb(function, request.into())?.into())
    }
}

impl<F: Explainer> Slot<F> {
    /// Explains the answer to a request of the host.
    ///
    /// # Errors
    /// What the function failed with.
    pub fn explain(&self, request: types::Request) -> Answer {
        self.answer(request, F::explain)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::Error;

    thread_local! {
        static INITS: Cell<u32> = const { Cell::new(0) };
    }

    struct Reluctant {
        answered: u32,
    }

    impl Function for Reluctant {
        fn init() -> Result<Self> {
            INITS.set(INITS.get() + 1);
            if INITS.get() == 1 { Err(Error::unavailable("not yet")) } else { Ok(Self { answered: 0 }) }
        }

        fn predict(&mut self, _: Request) -> Result<Values> {
            self.answered += 1;
            Err(Error::invalid_input(format_args!("request {}, init {}", self.answered, INITS.get())))
        }
    }

    impl Explainer for Reluctant {
        fn explain(&mut self, _: Request) -> Result<Values> {
            Ok(Values::new().with("why", crate::Text::from("because")))
        }
    }

    fn request() -> types::Request {
        types::Request { id: None, inputs: vec![], parameters: vec![] }
    }

    #[test]
    fn init_runs_once_and_again_after_a_failure() {
        let slot = Slot::<Reluctant>::new();
        assert!(matches!(slot.predict(request()), Err(types::Error::Unavailable(m)) if m == "not yet"));
        assert!(matches!(slot.predict(request()), Err(types::Error::InvalidInput(m)) if m == "request 1, init 2"));
        assert!(matches!(slot.predict(request()), Err(types::Error::InvalidInput(m)) if m == "request 2, init 2"));
        let ahead = Slot::<Reluctant>::new();
        ahead.init().expect("its third init works");
        assert!(matches!(ahead.predict(request()), Err(types::Error::InvalidInput(m)) if m == "request 1, init 3"));
        let why = slot.explain(request()).expect("an explanation");
        assert!(matches!(&why[..], [(name, types::Value::Bytes(_))] if name == "why"));
    }
}
