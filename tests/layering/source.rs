//! The paths that a source file names, by its tokens: comments and strings do not count, macros do.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One path as written, group imports taken apart, with its line.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// Its segments; `*` for a glob.
    pub segments: Vec<String>,
    /// Counted from 1.
    pub line: usize,
    /// How many inline modules it stands in.
    pub depth: usize,
}

/// Every path and every lone identifier outside `#[cfg(test)]` items.
pub fn paths(text: &str) -> Vec<NamedPath> {
    let tokens: TokenStream = text.parse().expect("source that the compiler reads");
    let mut found = Vec::new();
    scan(tokens, &[], 0, &mut found);
    found
}

fn scan(tokens: TokenStream, prefix: &[String], depth: usize, found: &mut Vec<NamedPath>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' && is_cfg_test(tokens.get(at + 1)) => {
                at = end_of_item(&tokens, at + 2);
            }
            // `use ::name` begins behind the keyword.
            TokenTree::Ident(ident) if ident == "use" => at += 1,
            TokenTree::Ident(_) => at = path(&tokens, at, prefix, depth, found),
            TokenTree::Punct(punct) if punct.as_char() == '*' && !prefix.is_empty() => {
                push(found, prefix, "*", token, depth);
                at += 1;
            }
            TokenTree::Group(group) => {
                scan(group.stream(), prefix, depth + usize::from(is_module(&tokens, at)), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads `a::b::c`, `a::b::*` or `a::{..}` from `at`; returns where it ends.
fn path(tokens: &[TokenTree], at: usize, prefix: &[String], depth: usize, found: &mut Vec<NamedPath>) -> usize {
    let mut segments = prefix.to_vec();
    let mut next = at;
    loop {
        match tokens.get(next) {
            Some(TokenTree::Ident(ident)) => segments.push(ident.to_string()),
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => segments.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                scan(group.stream(), &segments, depth, found);
                return next + 1;
            }
            // A turbofish ends the path.
            _ => break,
        }
        next += 1;
        if !is_double_colon(tokens, next) {
            break;
        }
        next += 2;
    }
    let line = tokens.get(at).map_or(0, |token| token.span().start().line);
    found.push(NamedPath { segments, line, depth });
    next
}

fn push(found: &mut Vec<NamedPath>, prefix: &[String], last: &str, token: &TokenTree, depth: usize) {
    let mut segments = prefix.to_vec();
    segments.push(last.to_owned());
    let line = token.span().start().line;
    found.push(NamedPath { segments, line, depth });
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// The group at `at` is the body of `mod name { .. }`.
fn is_module(tokens: &[TokenTree], at: usize) -> bool {
    let keyword = at.checked_sub(2).and_then(|at| tokens.get(at));
    matches!(keyword, Some(TokenTree::Ident(ident)) if ident == "mod")
}

/// `[cfg(test)]` or `[cfg(all(test, ..))]`, not `[cfg(not(test))]`.
fn is_cfg_test(attribute: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = attribute else {
        return false;
    };
    let text = group.stream().to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test")
}

/// Where the item that starts at `at` ends: behind its body or its semicolon.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    let is_use = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "use");
    let to_semicolon = tokens.get(at).is_some_and(is_use);
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' => break,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !to_semicolon => break,
            _ => {}
        }
    }
    at
}
