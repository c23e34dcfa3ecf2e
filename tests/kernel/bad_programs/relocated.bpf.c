/* SPDX-License-Identifier: MIT */
/* Returns a constant that the loader takes from the running kernel. */
#include "reach.h"

enum action {
	PASSED = XDP_PASS,
};

TRICK trick(struct xdp_md *ctx)
{
	return __builtin_preserve_enum_value(*(enum action *)PASSED, 1);
}
