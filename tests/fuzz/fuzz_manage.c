// SPDX-License-Identifier: BSD-2-Clause
/* What clients of the management plane send, through the manage server's own code; nanomsg is played here: it hands out
 * one message of the input after the other, each as octets, and takes the answers. Every message is answered once or
 * goes on to the supervisor (and is answered then); what goes on is known, and may be asked on this plane; an id that
 * was answered gets the same answer again. */
#include <nanomsg/nn.h>

#include "servers/manage/plane.h"
#include "tests/fuzz/fuzz.h"

static struct {
    uint8_t *waiting; /* what nn_recv gives out */
    size_t octets;
    unsigned answers;
    uint64_t id; /* of the last answer */
    bool error;
} net;

int nn_recv(int s, void *buf, size_t len, int flags)
{
    (void)s, (void)flags;
    check(len == NN_MSG);
    if (net.waiting == NULL)
        return -1;
    *(void **)buf = net.waiting;
    net.waiting = NULL;
    return (int)net.octets;
}

int nn_freemsg(void *msg)
{
    free(msg);
    return 0;
}

int nn_send(int s, const void *buf, size_t len, int flags)
{
    (void)s, (void)flags;
    Bulkhead__Manage__Reply *reply = bulkhead__manage__reply__unpack(NULL, len, buf);
    check(reply != NULL);
    net.answers++;
    net.id = reply->id;
    net.error = reply->error[0] != '\0';
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    return (int)len;
}

int nn_errno(void)
{
    return 0;
}

const char *nn_strerror(int errnum)
{
    (void)errnum;
    return "";
}

int nn_socket(int domain, int protocol)
{
    (void)domain, (void)protocol;
    return 1;
}

int nn_bind(int s, const char *addr)
{
    (void)s, (void)addr;
    return 0;
}

int nn_setsockopt(int s, int level, int option, const void *optval, size_t optvallen)
{
    (void)s, (void)level, (void)option, (void)optval, (void)optvallen;
    return 0;
}

int nn_getsockopt(int s, int level, int option, void *optval, size_t *optvallen)
{
    (void)s, (void)level, (void)option, (void)optval, (void)optvallen;
    return 0;
}

static bool changes(const Bulkhead__Manage__Request *r)
{
    return r->what_case == BULKHEAD__MANAGE__REQUEST__WHAT_KILL ||
           r->what_case == BULKHEAD__MANAGE__REQUEST__WHAT_DOWN ||
           r->what_case == BULKHEAD__MANAGE__REQUEST__WHAT_RESTART ||
           r->what_case == BULKHEAD__MANAGE__REQUEST__WHAT_AUDIT ||
           r->what_case == BULKHEAD__MANAGE__REQUEST__WHAT_REVOKE;
}

static void forwarded(struct plane *plane, Bulkhead__Manage__Request *request)
{
    check(net.answers == 0 && plane->id == request->id && request->id != 0);
    check(replies_find(&plane->replies, request->id) == NULL);
    check(request->what_case != BULKHEAD__MANAGE__REQUEST__WHAT__NOT_SET && request->base.n_unknown_fields == 0);
    check(plane->may_change || !changes(request));
    check(bulkhead__manage__request__get_packed_size(request) <= REQUEST_OCTETS_MAX);
    Bulkhead__Manage__Reply reply = BULKHEAD__MANAGE__REPLY__INIT;
    reply.id = request->id;
    plane_answer(plane, &reply);
    check(replies_find(&plane->replies, request->id) != NULL && plane->id == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct plane plane = {.name = "fuzz", .may_change = (input_8(&in) & 1) != 0};
    while (in.left > 0) {
        size_t octets = input_16(&in); /* of this message; the rest, if that is fewer */
        net.octets = octets < in.left ? octets : in.left;
        net.waiting = malloc(net.octets + 1);
        net.answers = 0;
        input_octets(&in, net.waiting, net.octets);
        Bulkhead__Manage__Request *request = NULL;
        if (plane_receive(&plane, &request) == PLANE_REQUEST) {
            forwarded(&plane, request);
            bulkhead__manage__request__free_unpacked(request, NULL);
        }
        check(net.answers == 1 && net.waiting == NULL);
    }
    for (unsigned i = 0; i < REPLIES_KEPT; i++)
        free(plane.replies.reply[i].bytes);
    return 0;
}
