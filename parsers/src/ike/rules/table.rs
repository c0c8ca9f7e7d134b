//! The rules as a table: an entry for each message, and in it a form for each shape that the message may have.

use super::Protection::{Clear, Either, Encrypted};
use super::{Exchange, Form, Position, Protection, Rule};
use crate::ike::{ExchangeType, PayloadType as P};

/// Every message of every exchange that has rules.
pub const EXCHANGES: &[Exchange] = &[
    message(ExchangeType::IDENTITY_PROTECTION, 1, PHASE1_SA),
    message(ExchangeType::IDENTITY_PROTECTION, 2, PHASE1_SA),
    message(ExchangeType::IDENTITY_PROTECTION, 3, MAIN_MODE_KE),
    message(ExchangeType::IDENTITY_PROTECTION, 4, MAIN_MODE_KE),
    message(ExchangeType::IDENTITY_PROTECTION, 5, MAIN_MODE_AUTH),
    message(ExchangeType::IDENTITY_PROTECTION, 6, MAIN_MODE_AUTH),
    message(ExchangeType::AGGRESSIVE, 1, AGGRESSIVE_1),
    message(ExchangeType::AGGRESSIVE, 2, AGGRESSIVE_2),
    message(ExchangeType::AGGRESSIVE, 3, AGGRESSIVE_3),
    message(ExchangeType::QUICK_MODE, 1, QUICK_MODE_SA),
    message(ExchangeType::QUICK_MODE, 2, QUICK_MODE_SA),
    message(ExchangeType::QUICK_MODE, 3, QUICK_MODE_HASH),
    // With the commit bit the responder confirms (RFC 2408 section 3.1).
    message(ExchangeType::QUICK_MODE, 4, QUICK_MODE_HASH),
    message(ExchangeType::NEW_GROUP_MODE, 1, NEW_GROUP_MODE),
    message(ExchangeType::NEW_GROUP_MODE, 2, NEW_GROUP_MODE),
    each_message(ExchangeType::INFORMATIONAL_V1, INFORMATIONAL_V1),
    each_message(ExchangeType::TRANSACTION, TRANSACTION),
    request(ExchangeType::IKE_SA_INIT, IKE_SA_INIT_REQUEST),
    response(ExchangeType::IKE_SA_INIT, IKE_SA_INIT_RESPONSE),
    request(ExchangeType::IKE_AUTH, IKE_AUTH_REQUEST),
    response(ExchangeType::IKE_AUTH, IKE_AUTH_RESPONSE),
    request(ExchangeType::CREATE_CHILD_SA, CREATE_CHILD_SA),
    response(ExchangeType::CREATE_CHILD_SA, CREATE_CHILD_SA_RESPONSE),
    each_message(ExchangeType::INFORMATIONAL, INFORMATIONAL),
    request(ExchangeType::IKE_SESSION_RESUME, IKE_SESSION_RESUME_REQUEST),
    response(ExchangeType::IKE_SESSION_RESUME, IKE_SESSION_RESUME_RESPONSE),
    each_message(ExchangeType::IKE_INTERMEDIATE, IKE_INTERMEDIATE),
    each_message(ExchangeType::IKE_FOLLOWUP_KE, IKE_FOLLOWUP_KE),
];

// IKEv1, phase 1 (RFC 2409 section 5). Hybrid authentication and XAUTH put a SIG on one side and a HASH on the other, so
// either does for either. The NAT-D payloads of the drafts have a number of their own.

const NAT_D: [P; 2] = [P::NAT_D, P::NAT_D_DRAFT];
const NAT_OA: [P; 2] = [P::NAT_OA, P::NAT_OA_DRAFT];
const PROOF: [P; 2] = [P::HASH, P::SIG];
/// The numbers that the drafts 04 to 08 of NAT traversal used for NAT-D and NAT-OA.
const NAT_D_OLD: [P; 2] = [P::SAK, P::SAT];

const PHASE1_SA: &[Form] = &[form(&[P::SA], &[one(P::SA, Clear), any(P::VID, Clear), any(P::N, Clear)])];

/// With public key encryption ID and HASH come here, each encrypted by itself (RFC 2409 sections 5.2 and 5.3).
const MAIN_MODE_KE: &[Form] = &[form(
    &[],
    &[
        one(P::KE, Clear),
        one(P::NONCE, Clear),
        of(NAT_D, 0, MANY, Clear),
        of(NAT_D_OLD, 0, MANY, Clear),
        any(P::CERT, Clear),
        any(P::CR, Clear),
        up_to(1, P::ID, Clear),
        up_to(1, P::HASH, Clear),
        any(P::VID, Clear),
        any(P::N, Clear),
    ],
)];

const MAIN_MODE_AUTH: &[Form] = &[
    form(
        &[],
        &[
            one(P::ID, Encrypted),
            of(PROOF, 1, 1, Encrypted),
            any(P::CERT, Encrypted),
            any(P::CR, Encrypted),
            any(P::N, Encrypted),
            any(P::VID, Encrypted),
        ],
    ),
    // With public key encryption the identities are known by now.
    form(&[], &[one(P::HASH, Encrypted), any(P::N, Encrypted), any(P::VID, Encrypted)]),
];

const AGGRESSIVE_1: &[Form] = &[form(
    &[P::SA],
    &[
        one(P::SA, Clear),
        one(P::KE, Clear),
        one(P::NONCE, Clear),
        one(P::ID, Clear),
        up_to(1, P::HASH, Clear),
        any(P::CERT, Clear),
        any(P::CR, Clear),
        any(P::VID, Clear),
        any(P::N, Clear),
    ],
)];

const AGGRESSIVE_2: &[Form] = &[form(
    &[P::SA],
    &[
        one(P::SA, Clear),
        one(P::KE, Clear),
        one(P::NONCE, Clear),
        one(P::ID, Clear),
        of(PROOF, 1, 1, Clear),
        of(NAT_D, 0, MANY, Clear),
        of(NAT_D_OLD, 0, MANY, Clear),
        any(P::CERT, Clear),
        any(P::CR, Clear),
        any(P::VID, Clear),
        any(P::N, Clear),
    ],
)];

const AGGRESSIVE_3: &[Form] = &[form(
    &[],
    &[
        of(PROOF, 1, 1, Either),
        of(NAT_D, 0, MANY, Either),
        of(NAT_D_OLD, 0, MANY, Either),
        any(P::CERT, Either),
        any(P::VID, Either),
        any(P::N, Either),
    ],
)];

// IKEv1, phase 2 (RFC 2409 section 5.5 to 5.7): the HASH is first, in Quick Mode the SA follows it.

const QUICK_MODE_SA: &[Form] = &[form(
    &[P::HASH, P::SA],
    &[
        one(P::HASH, Encrypted),
        at_least_one(P::SA, Encrypted),
        one(P::NONCE, Encrypted),
        up_to(1, P::KE, Encrypted),
        up_to(2, P::ID, Encrypted),
        of(NAT_OA, 0, 2, Encrypted),
        any(P::N, Encrypted),
        any(P::VID, Encrypted),
    ],
)];

const QUICK_MODE_HASH: &[Form] =
    &[form(&[P::HASH], &[one(P::HASH, Encrypted), any(P::N, Encrypted), any(P::VID, Encrypted)])];

const NEW_GROUP_MODE: &[Form] =
    &[form(&[P::HASH, P::SA], &[one(P::HASH, Encrypted), one(P::SA, Encrypted), any(P::N, Encrypted)])];

const INFORMATIONAL_V1: &[Form] = &[
    form(&[P::HASH], &[one(P::HASH, Encrypted), of([P::N, P::D], 1, MANY, Encrypted), any(P::VID, Encrypted)]),
    // Before there are keys, or after they were lost.
    form(&[], &[of([P::N, P::D], 1, MANY, Clear), any(P::VID, Clear)]),
];

const TRANSACTION: &[Form] = &[form(
    &[P::HASH],
    &[one(P::HASH, Encrypted), one(P::ATTR, Encrypted), any(P::N, Encrypted), any(P::VID, Encrypted)],
)];

// IKEv2 (RFC 7296 section 1). An answer may also be nothing but the reason why there is none.

const IKE_SA_INIT_REQUEST: &[Form] = &[form(
    &[],
    &[
        one(P::V2_SA, Clear),
        one(P::V2_KE, Clear),
        one(P::V2_NONCE, Clear),
        up_to(1, P::V2_PS, Clear),
        any(P::V2_N, Clear),
        any(P::V2_V, Clear),
    ],
)];

const IKE_SA_INIT_RESPONSE: &[Form] = &[
    form(
        &[],
        &[
            one(P::V2_SA, Clear),
            one(P::V2_KE, Clear),
            one(P::V2_NONCE, Clear),
            any(P::V2_CERTREQ, Clear),
            any(P::V2_N, Clear),
            any(P::V2_V, Clear),
        ],
    ),
    REFUSED_IN_CLEAR,
];

const REFUSED_IN_CLEAR: Form = form(&[], &[at_least_one(P::V2_N, Clear), any(P::V2_V, Clear)]);

/// The encrypted payload itself.
const SK: Rule = of([P::V2_SK, P::V2_SKF], 1, 1, Clear);

const REFUSED: Form = form(&[], &[SK, at_least_one(P::V2_N, Encrypted), any(P::V2_V, Encrypted)]);

const EAP: Form = form(&[], &[SK, one(P::V2_EAP, Encrypted), any(P::V2_N, Encrypted), any(P::V2_V, Encrypted)]);

const IKE_AUTH_REQUEST: &[Form] = &[
    form(
        &[],
        &[
            SK,
            one(P::V2_IDI, Encrypted),
            // Not there: the initiator wants EAP.
            up_to(1, P::V2_AUTH, Encrypted),
            one(P::V2_SA, Encrypted),
            one(P::V2_TSI, Encrypted),
            one(P::V2_TSR, Encrypted),
            any(P::V2_CERT, Encrypted),
            any(P::V2_CERTREQ, Encrypted),
            up_to(1, P::V2_IDR, Encrypted),
            up_to(1, P::V2_CP, Encrypted),
            any(P::V2_N, Encrypted),
            any(P::V2_V, Encrypted),
        ],
    ),
    EAP,
    // After EAP, and with an identity another authentication (RFC 4739), or an IKE SA without a Child SA (RFC 6023).
    form(
        &[],
        &[
            SK,
            of([P::V2_AUTH, P::V2_IDI], 1, 2, Encrypted),
            up_to(1, P::V2_IDR, Encrypted),
            any(P::V2_CERT, Encrypted),
            any(P::V2_CERTREQ, Encrypted),
            up_to(1, P::V2_CP, Encrypted),
            any(P::V2_N, Encrypted),
            any(P::V2_V, Encrypted),
        ],
    ),
];

const IKE_AUTH_RESPONSE: &[Form] = &[
    form(
        &[],
        &[
            SK,
            one(P::V2_AUTH, Encrypted),
            one(P::V2_SA, Encrypted),
            one(P::V2_TSI, Encrypted),
            one(P::V2_TSR, Encrypted),
            // Not there: it came before EAP.
            up_to(1, P::V2_IDR, Encrypted),
            any(P::V2_CERT, Encrypted),
            up_to(1, P::V2_CP, Encrypted),
            any(P::V2_N, Encrypted),
            any(P::V2_V, Encrypted),
        ],
    ),
    // The responder begins EAP; with EAP_ONLY_AUTHENTICATION (RFC 5998) without AUTH.
    form(
        &[],
        &[
            SK,
            one(P::V2_EAP, Encrypted),
            up_to(1, P::V2_IDR, Encrypted),
            up_to(1, P::V2_AUTH, Encrypted),
            any(P::V2_CERT, Encrypted),
            any(P::V2_N, Encrypted),
            any(P::V2_V, Encrypted),
        ],
    ),
    // The Child SA is refused, or none was asked for.
    form(
        &[],
        &[
            SK,
            one(P::V2_AUTH, Encrypted),
            up_to(1, P::V2_IDR, Encrypted),
            any(P::V2_CERT, Encrypted),
            up_to(1, P::V2_CP, Encrypted),
            any(P::V2_N, Encrypted),
            any(P::V2_V, Encrypted),
        ],
    ),
    REFUSED,
    // Another authentication follows (RFC 4739).
    form(&[], &[SK, any(P::V2_V, Encrypted)]),
];

const NEW_CHILD_SA: Form = form(
    &[],
    &[
        SK,
        one(P::V2_SA, Encrypted),
        one(P::V2_NONCE, Encrypted),
        one(P::V2_TSI, Encrypted),
        one(P::V2_TSR, Encrypted),
        up_to(1, P::V2_KE, Encrypted),
        up_to(1, P::V2_CP, Encrypted),
        any(P::V2_N, Encrypted),
        any(P::V2_V, Encrypted),
    ],
);

const NEW_IKE_SA: Form = form(
    &[],
    &[
        SK,
        one(P::V2_SA, Encrypted),
        one(P::V2_NONCE, Encrypted),
        one(P::V2_KE, Encrypted),
        any(P::V2_N, Encrypted),
        any(P::V2_V, Encrypted),
    ],
);

const CREATE_CHILD_SA: &[Form] = &[NEW_CHILD_SA, NEW_IKE_SA];
const CREATE_CHILD_SA_RESPONSE: &[Form] = &[NEW_CHILD_SA, NEW_IKE_SA, REFUSED];

const INFORMATIONAL: &[Form] = &[
    form(
        &[],
        &[SK, any(P::V2_N, Encrypted), any(P::V2_D, Encrypted), up_to(1, P::V2_CP, Encrypted), any(P::V2_V, Encrypted)],
    ),
    // About an SA that the sender does not know (RFC 7296 section 1.5).
    REFUSED_IN_CLEAR,
];

// RFC 5723 section 4.3.2.
const IKE_SESSION_RESUME_REQUEST: &[Form] =
    &[form(&[], &[one(P::V2_NONCE, Clear), at_least_one(P::V2_N, Clear), any(P::V2_V, Clear)])];
const IKE_SESSION_RESUME_RESPONSE: &[Form] =
    &[form(&[], &[one(P::V2_NONCE, Clear), any(P::V2_N, Clear), any(P::V2_V, Clear)]), REFUSED_IN_CLEAR];

// RFC 9242 leaves the payloads to those who use the exchange; RFC 9370 puts a KE there.
const IKE_INTERMEDIATE: &[Form] = &[form(
    &[],
    &[
        SK,
        up_to(1, P::V2_KE, Encrypted),
        up_to(1, P::V2_PS, Encrypted),
        any(P::V2_N, Encrypted),
        any(P::V2_V, Encrypted),
    ],
)];

// RFC 9370 section 2.2.4.
const IKE_FOLLOWUP_KE: &[Form] =
    &[form(&[], &[SK, one(P::V2_KE, Encrypted), any(P::V2_N, Encrypted), any(P::V2_V, Encrypted)]), REFUSED];

// What makes the table short.

/// Any number.
const MANY: u8 = Rule::MANY;

const fn message(exchange_type: ExchangeType, number: u8, forms: &'static [Form]) -> Exchange {
    Exchange { exchange_type, position: Some(Position::Message(number)), forms }
}

const fn request(exchange_type: ExchangeType, forms: &'static [Form]) -> Exchange {
    Exchange { exchange_type, position: Some(Position::Request), forms }
}

const fn response(exchange_type: ExchangeType, forms: &'static [Form]) -> Exchange {
    Exchange { exchange_type, position: Some(Position::Response), forms }
}

const fn each_message(exchange_type: ExchangeType, forms: &'static [Form]) -> Exchange {
    Exchange { exchange_type, position: None, forms }
}

const fn form(first: &'static [P], rules: &'static [Rule]) -> Form {
    Form { first, rules }
}

const fn of(payloads: [P; 2], min: u8, max: u8, protection: Protection) -> Rule {
    Rule { payloads, min, max, protection }
}

const fn one(payload: P, protection: Protection) -> Rule {
    of([payload, P::NONE], 1, 1, protection)
}

const fn up_to(max: u8, payload: P, protection: Protection) -> Rule {
    of([payload, P::NONE], 0, max, protection)
}

const fn at_least_one(payload: P, protection: Protection) -> Rule {
    of([payload, P::NONE], 1, MANY, protection)
}

const fn any(payload: P, protection: Protection) -> Rule {
    of([payload, P::NONE], 0, MANY, protection)
}
