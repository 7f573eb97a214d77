#ifndef CLIBWEBSOCKETS_SHIM_H
#define CLIBWEBSOCKETS_SHIM_H

#include <libwebsockets.h>
#include <sys/socket.h>

/* LWS_PRE is an expression of macros, which Swift does not import: the room lws_write needs before the payload. */
static inline size_t clws_pre(void) { return LWS_PRE; }

/* accept4 is a GNU extension that Swift's Glibc module hides. */
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
static inline int clws_accept(int fd, struct sockaddr_storage *address) {
    socklen_t length = sizeof(*address);
    return accept4(fd, (struct sockaddr *)address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* 64-bit shifts of option macros, which Swift does not import. */
static inline uint64_t clws_context_options(int is_first) {
    return LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
           (is_first ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0);
}
static inline uint64_t clws_vhost_options(void) {
    return LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
}

/* The option bits of OpenSSL that leave TLS 1.2 and 1.3 (libwebsockets takes them as a long). */
static inline long clws_no_old_tls(void) {
    return (long)(SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1);
}

/* Why OpenSSL does not accept the certificate that it is looking at, in its own words. `store` is the X509_STORE_CTX that
   LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION comes with. */
static inline const char *clws_verify_error(void *store) {
    return X509_verify_cert_error_string(X509_STORE_CTX_get_error((X509_STORE_CTX *)store));
}

#endif
