//! The payloads of a message of IKEv2 beside the bytes that they came in, which AUTH covers.

use keyferry_parsers::ike::v2::{Body, Payload};
use keyferry_parsers::ike::{Chain, PayloadType};

/// The payloads of a chain, up to the first that cannot be read.
pub(super) struct Payloads<'a> {
    pub(super) types: Vec<PayloadType>,
    pub(super) bodies: Vec<Body<'a>>,
    /// The bodies as they came.
    pub(super) bytes: Vec<&'a [u8]>,
    pub(super) malformed: Option<String>,
}

impl<'a> Payloads<'a> {
    pub(super) fn read(mut chain: Chain<'a>) -> Self {
        let mut all = Self { types: Vec::new(), bodies: Vec::new(), bytes: Vec::new(), malformed: None };
        for raw in chain.by_ref() {
            let parsed = raw.and_then(|raw| {
                all.types.push(raw.payload_type);
                Ok((Payload::from_raw(raw)?.body, raw.body))
            });
            match parsed {
                Ok((body, bytes)) => {
                    all.bodies.push(body);
                    all.bytes.push(bytes);
                }
                Err(error) => {
                    all.malformed = Some(error.to_string());
                    return all;
                }
            }
        }
        let rest = chain.rest().len();
        if rest > 0 {
            all.malformed = Some(format!("{rest} bytes follow the last payload"));
        }
        all
    }
}
