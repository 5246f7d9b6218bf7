// SPDX-License-Identifier: BSD-2-Clause
#include "bench/apps/peer.h"

#include <errno.h>

error_t peer_option(struct peer *peer, int key, char *text)
{
    switch (key) {
    case 'l':
        if (!app_address(text, true, &peer->address))
            app_usage("'%s' is not [ADDRESS:]PORT", text);
        peer->listen = peer->given = true;
        return 0;
    case 'k':
        peer->forever = true;
        return 0;
    case ARGP_KEY_ARG:
        if (peer->given || !app_address(text, false, &peer->address))
            app_usage("'%s': say one numeric ADDRESS:PORT, or --listen", text);
        peer->given = true;
        return 0;
    case ARGP_KEY_END:
        if (!peer->given)
            app_usage("say ADDRESS:PORT to connect to, or --listen PORT");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int peer_run(const struct app *app, const struct peer *peer, const char *program, bool (*serve)(void *input, int fd),
             void *input)
{
    bool good = true;
    app_attach(app);
    if (!peer->listen) {
        int fd = app_connect(app, &peer->address, SOCK_STREAM);
        good = serve(input, fd);
        app->net->close(fd);
        return good ? 0 : 1;
    }
    int listener = app_listen(app, program, &peer->address, SOCK_STREAM);
    do {
        int fd = app->net->accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0)
            app_fail(errno, "cannot accept");
        good = serve(input, fd);
        app->net->close(fd);
    } while (peer->forever);
    app->net->close(listener);
    return good ? 0 : 1;
}
