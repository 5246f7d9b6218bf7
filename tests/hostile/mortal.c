// SPDX-License-Identifier: BSD-2-Clause
/* The real domain's parsers with one fault more (linked by --wrap): they die of packets that a test marks by their
 * length or port, or (CANNOT_START) tcp dies of being started. */
#include <stddef.h>
#include <stdlib.h>

#include "protocols/ip4/ip4.h"
#include "protocols/tcp/tcp.h"
#include "protocols/udp/udp.h"

#define DEADLY  666U /* octets of payload, or the port that it comes from */
#define ENDLESS 667U
#define TIMED   668U /* the port: dies when there is no answer for long */
#define PORTS   6000U

static void perish(uint32_t of)
{
    if (of == DEADLY)
        *(volatile int *)NULL = 1;
    while (of == ENDLESS)
        __asm__ volatile("");
}

enum tcp_input_result __real_tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                       const struct tcp_segment_in *meta, const uint8_t *header, uint32_t header_length,
                                       uint32_t segment_length, struct tcp_placement *ret);
enum tcp_input_result __wrap_tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                       const struct tcp_segment_in *meta, const uint8_t *header, uint32_t header_length,
                                       uint32_t segment_length, struct tcp_placement *ret);
enum tcp_input_result __wrap_tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                       const struct tcp_segment_in *meta, const uint8_t *header, uint32_t header_length,
                                       uint32_t segment_length, struct tcp_placement *ret)
{
    perish(meta->source_port - PORTS);
    if (header_length > 12)
        perish(segment_length - (header[12] >> 4) * 4U);
    return __real_tcp_input(t, now_us, index, meta, header, header_length, segment_length, ret);
}

bool __real_conn_is_given_up(struct tcp *t, uint64_t now_us, const struct tcp_conn *c);
bool __wrap_conn_is_given_up(struct tcp *t, uint64_t now_us, const struct tcp_conn *c);
bool __wrap_conn_is_given_up(struct tcp *t, uint64_t now_us, const struct tcp_conn *c)
{
    if (c->identity.remote_port == PORTS + TIMED) /* in its retransmission or persist timer */
        perish(DEADLY);
    return __real_conn_is_given_up(t, now_us, c);
}

enum udp_result __real_udp_parse(struct udp_counters *counters, const uint8_t *bytes, size_t captured, size_t available,
                                 struct udp_header *ret);
enum udp_result __wrap_udp_parse(struct udp_counters *counters, const uint8_t *bytes, size_t captured, size_t available,
                                 struct udp_header *ret);
enum udp_result __wrap_udp_parse(struct udp_counters *counters, const uint8_t *bytes, size_t captured, size_t available,
                                 struct udp_header *ret)
{
    perish((uint32_t)available - UDP_HEADER_LENGTH);
    return __real_udp_parse(counters, bytes, captured, available, ret);
}

enum ip4_result __real_ip4_parse(struct ip4_counters *counters, const struct ip4_config *config, bool turned,
                                 const uint8_t *bytes, size_t captured, size_t available, struct ip4_header *ret);
enum ip4_result __wrap_ip4_parse(struct ip4_counters *counters, const struct ip4_config *config, bool turned,
                                 const uint8_t *bytes, size_t captured, size_t available, struct ip4_header *ret);
enum ip4_result __wrap_ip4_parse(struct ip4_counters *counters, const struct ip4_config *config, bool turned,
                                 const uint8_t *bytes, size_t captured, size_t available, struct ip4_header *ret)
{
    if (captured > 9 && bytes[9] == 1) /* ICMP */
        perish((uint32_t)available - IP4_HEADER_MIN);
    return __real_ip4_parse(counters, config, turned, bytes, captured, available, ret);
}

struct tcp *__real_tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us);
struct tcp *__wrap_tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us);
struct tcp *__wrap_tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us)
{
#ifdef CANNOT_START
    perish(DEADLY);
#endif
    return __real_tcp_init(memory, config, now_us);
}
