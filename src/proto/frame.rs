//! Unmasked WebSocket frame headers as a server writes them (RFC 6455, section 5.2).
