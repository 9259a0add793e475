//! A stand-in for DingTalk on this machine.
