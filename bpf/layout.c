/* SPDX-License-Identifier: MIT */
/*
 * Holds one variable of each type that the TypeScript side reads or writes as bytes, so that its BTF has them:
 * ours, and the kernel's and libbpf's own. Compiled for `deno task layout` alone; never loaded.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ibsr.h"

enum ibsr_limit limit;
enum ibsr_class class;
enum ibsr_skip skip;
struct ibsr_key4 key4;
struct ibsr_key6 key6;
struct ibsr_counters counters;
struct ibsr_syns syns;
struct ibsr_total total;
struct ibsr_skipped skipped;
struct ibsr_settings settings;

struct bpf_object_open_opts object_open_opts;
struct bpf_link_create_opts link_create_opts;
struct bpf_test_run_opts test_run_opts;
struct bpf_link_info link_info;
struct bpf_prog_info prog_info;
