// SPDX-License-Identifier: BSD-2-Clause
/* The manage server as a program, in its walls, with this test in the supervisor's place (descriptor 3) and as its
 * client. The program is looked for two folders up, as in the build folder, or where BULKHEAD_MANAGE says. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nanomsg/nn.h>
#include <nanomsg/pubsub.h>
#include <nanomsg/reqrep.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/manage.pb-c.h"

static char run_dir[] = "/tmp/bulkhead-test-XXXXXX";
static char template[sizeof(run_dir)];
static char program[PATH_MAX];
static int supervisor; /* our end */
static pid_t child;
static int control, status, events;

static void child_start(void)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (dup2(pair[1], 3) < 0 || fcntl(3, F_SETFD, 0) < 0) /* the program unshares what it must */
            _exit(98);
        execl(program, "bulkhead-manage", run_dir, NULL);
        _exit(97);
    }
    close(pair[1]);
    supervisor = pair[0];
}

static int client_open(int protocol, const char *name)
{
    char url[128];
    int timeout_ms = 7000;
    int resend_ms = 60000; /* the test resends itself */
    snprintf(url, sizeof(url), "ipc://%s/%s", run_dir, name);
    int fd = nn_socket(AF_SP, protocol);
    ck_assert_int_ge(fd, 0);
    nn_setsockopt(fd, NN_SOL_SOCKET, NN_RCVTIMEO, &timeout_ms, sizeof(timeout_ms));
    if (protocol == NN_REQ)
        nn_setsockopt(fd, NN_REQ, NN_REQ_RESEND_IVL, &resend_ms, sizeof(resend_ms));
    else
        nn_setsockopt(fd, NN_SUB, NN_SUB_SUBSCRIBE, "", 0);
    ck_assert_int_ge(nn_connect(fd, url), 0);
    return fd;
}

static void setup(void)
{
    memcpy(run_dir, template, sizeof(run_dir));
    ck_assert_ptr_nonnull(mkdtemp(run_dir));
    child_start();
    control = client_open(NN_REQ, "control");
    status = client_open(NN_REQ, "status");
    events = client_open(NN_SUB, "events");
}

static void teardown(void)
{
    int result = 0;
    close(supervisor);
    ck_assert_int_eq(waitpid(child, &result, 0), child);
    ck_assert_msg(WIFEXITED(result) && WEXITSTATUS(result) == 0,
                  "manage ended with wait status %#x when the supervisor closed", (unsigned)result);
    nn_close(control);
    nn_close(status);
    nn_close(events);
    static const char *const names[] = {"control", "status", "events"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", run_dir, names[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(run_dir), 0);
}

static void ask(int fd, Bulkhead__Manage__Request *request)
{
    uint8_t bytes[256];
    size_t octets = bulkhead__manage__request__pack(request, bytes);
    ck_assert_int_eq(nn_send(fd, bytes, octets, 0), (int)octets);
}

static void ask_kill(int fd, uint64_t id, const char *server)
{
    Bulkhead__Manage__Kill kill_tcp = BULKHEAD__MANAGE__KILL__INIT;
    kill_tcp.server = (char *)(uintptr_t)server;
    kill_tcp.signal = 9;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    request.id = id;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_KILL;
    request.kill = &kill_tcp;
    ask(fd, &request);
}

static void ask_ps(int fd, uint64_t id)
{
    Bulkhead__Manage__Ps ps = BULKHEAD__MANAGE__PS__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    request.id = id;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_PS;
    request.ps = &ps;
    ask(fd, &request);
}

static void expect_answer(int fd, uint64_t id, const char *error)
{
    void *bytes = NULL;
    int octets = nn_recv(fd, &bytes, NN_MSG, 0);
    ck_assert_msg(octets >= 0, "no answer: %s", nn_strerror(nn_errno()));
    Bulkhead__Manage__Reply *reply = bulkhead__manage__reply__unpack(NULL, (size_t)octets, bytes);
    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    if (error[0] == '\0')
        ck_assert_str_eq(reply->error, "");
    else
        ck_assert_msg(strstr(reply->error, error) != NULL, "error is: %s", reply->error);
    ck_assert_msg(strchr(reply->error, '\n') == NULL, "more than one line");
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    nn_freemsg(bytes);
}

static Bulkhead__Manage__Request *supervisor_gets(void)
{
    uint8_t bytes[4096];
    struct pollfd wait = {.fd = supervisor, .events = POLLIN};
    ck_assert_int_eq(poll(&wait, 1, 5000), 1);
    ssize_t octets = recv(supervisor, bytes, sizeof(bytes), 0);
    ck_assert_int_gt(octets, 0);
    Bulkhead__Manage__Request *request = bulkhead__manage__request__unpack(NULL, (size_t)octets, bytes);
    ck_assert_ptr_nonnull(request);
    return request;
}

static void supervisor_gets_nothing(void)
{
    struct pollfd wait = {.fd = supervisor, .events = POLLIN};
    ck_assert_int_eq(poll(&wait, 1, 0), 0);
}

static void supervisor_says(Bulkhead__Manage__Reply *reply, Bulkhead__Manage__Event *event)
{
    uint8_t bytes[4096];
    Bulkhead__Manage__ToManage message = BULKHEAD__MANAGE__TO_MANAGE__INIT;
    message.reply = reply;
    message.event = event;
    size_t octets = bulkhead__manage__to_manage__pack(&message, bytes);
    ck_assert_int_eq(send(supervisor, bytes, octets, 0), (int)octets);
}

static void supervisor_answers(uint64_t id)
{
    Bulkhead__Manage__Reply reply = BULKHEAD__MANAGE__REPLY__INIT;
    reply.id = id;
    supervisor_says(&reply, NULL);
}

START_TEST(request_and_repeat)
{
    ask_kill(control, 17, "tcp");
    Bulkhead__Manage__Request *request = supervisor_gets();
    ck_assert_int_eq(request->what_case, BULKHEAD__MANAGE__REQUEST__WHAT_KILL);
    ck_assert_str_eq(request->kill->server, "tcp");
    ck_assert_uint_eq(request->id, 17);
    bulkhead__manage__request__free_unpacked(request, NULL);
    supervisor_answers(17);
    expect_answer(control, 17, "");
    ask_kill(control, 17, "tcp"); /* from memory: not done twice */
    expect_answer(control, 17, "");
    supervisor_gets_nothing();
}
END_TEST

START_TEST(memory_has_an_end)
{
    for (uint64_t id = 1; id <= 65; id++) {
        ask_ps(status, id);
        bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
        supervisor_answers(id);
        expect_answer(status, id, "");
    }
    ask_ps(status, 2);
    expect_answer(status, 2, "");
    supervisor_gets_nothing();
    ask_ps(status, 1); /* forgotten: asked again */
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(1);
    expect_answer(status, 1, "");
}
END_TEST

START_TEST(own_end) /* answered first, and once only, or clients would kill every incarnation */
{
    ask_kill(control, 21, "manage");
    expect_answer(control, 21, "");
    Bulkhead__Manage__Request *request = supervisor_gets();
    ck_assert_int_eq(request->what_case, BULKHEAD__MANAGE__REQUEST__WHAT_KILL);
    ck_assert_str_eq(request->kill->server, "manage");
    bulkhead__manage__request__free_unpacked(request, NULL);
    ask_kill(control, 21, "manage");
    expect_answer(control, 21, "");
    supervisor_gets_nothing();
}
END_TEST

START_TEST(refusals)
{
    ask_kill(status, 5, "tcp");
    expect_answer(status, 5, "status socket only reads");
    ask_kill(control, 6, "../../x");
    expect_answer(control, 6, "no such server");
    ask_ps(control, 0);
    expect_answer(control, 0, "id");
    supervisor_gets_nothing();
}
END_TEST

START_TEST(garbage)
{
    uint8_t bytes[4096];
    unsigned seed = 12345;
    for (int round = 0; round < 200; round++) {
        size_t octets = (size_t)rand_r(&seed) % sizeof(bytes);
        for (size_t i = 0; i < octets; i++)
            bytes[i] = (uint8_t)rand_r(&seed);
        bytes[0] = 0x0f; /* wire type 7: never valid */
        nn_send(status, bytes, octets + 1 > sizeof(bytes) ? octets : octets + 1, 0);
        expect_answer(status, 0, "malformed");
    }
    supervisor_gets_nothing();
    ask_ps(status, 9); /* and it still serves */
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(9);
    expect_answer(status, 9, "");
}
END_TEST

START_TEST(supervisor_garbage)
{
    ck_assert_int_eq(send(supervisor, "\x0f\xff\xff", 3, 0), 3);
    supervisor_answers(1234); /* nobody asked */
    ask_ps(status, 9);
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(9);
    expect_answer(status, 9, "");
}
END_TEST

START_TEST(supervisor_silent)
{
    ask_ps(status, 3);
    expect_answer(status, 3, "did not answer within 5 s");
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(3); /* too late */
    ask_ps(status, 4);
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(4);
    expect_answer(status, 4, "");
}
END_TEST

START_TEST(event_published)
{
    ask_ps(status, 1); /* the server is up */
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(1);
    expect_answer(status, 1, "");
    Bulkhead__Manage__Event event = BULKHEAD__MANAGE__EVENT__INIT;
    event.number = 0;
    event.kind = "died";
    event.subject = "tcp";
    void *bytes = NULL;
    int timeout_ms = 100;
    int octets = -1;
    nn_setsockopt(events, NN_SOL_SOCKET, NN_RCVTIMEO, &timeout_ms, sizeof(timeout_ms));
    for (int i = 0; i < 100 && octets < 0; i++) { /* until the subscription is connected */
        event.number++;
        supervisor_says(NULL, &event);
        octets = nn_recv(events, &bytes, NN_MSG, 0);
    }
    ck_assert_int_ge(octets, 0);
    Bulkhead__Manage__Event *got = bulkhead__manage__event__unpack(NULL, (size_t)octets, bytes);
    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got->subject, "tcp");
    bulkhead__manage__event__free_unpacked(got, NULL);
    nn_freemsg(bytes);
}
END_TEST

START_TEST(socket_modes)
{
    static const struct {
        const char *name;
        mode_t mode;
    } rows[] = {{"control", 0600}, {"status", 0666}, {"events", 0666}};
    ask_ps(control, 1);
    bulkhead__manage__request__free_unpacked(supervisor_gets(), NULL);
    supervisor_answers(1);
    expect_answer(control, 1, "");
    for (int i = 0; i < 3; i++) {
        char path[128];
        struct stat file;
        snprintf(path, sizeof(path), "%s/%s", run_dir, rows[i].name);
        ck_assert_int_eq(stat(path, &file), 0);
        ck_assert_uint_eq(file.st_mode & 0777, rows[i].mode);
    }
}
END_TEST

int main(int argc, char **argv)
{
    (void)argc;
    const char *chosen = getenv("BULKHEAD_MANAGE");
    const char *slash = strrchr(argv[0], '/');
    snprintf(program, sizeof(program), "%.*s../../bulkhead-manage", slash == NULL ? 0 : (int)(slash - argv[0]) + 1,
             argv[0]);
    if (chosen != NULL)
        snprintf(program, sizeof(program), "%s", chosen);
    if (access(program, X_OK) < 0) {
        fprintf(stderr, "no program %s; build it, or set BULKHEAD_MANAGE\n", program);
        return EXIT_FAILURE;
    }
    memcpy(template, run_dir, sizeof(template));
    TCase *cases = tcase_create("manage");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 30);
    tcase_add_test(cases, request_and_repeat);
    tcase_add_test(cases, memory_has_an_end);
    tcase_add_test(cases, own_end);
    tcase_add_test(cases, refusals);
    tcase_add_test(cases, garbage);
    tcase_add_test(cases, supervisor_garbage);
    tcase_add_test(cases, supervisor_silent);
    tcase_add_test(cases, event_published);
    tcase_add_test(cases, socket_modes);
    Suite *suite = suite_create("manage");
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
