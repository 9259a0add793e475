//! From a draft to messages that fit.
