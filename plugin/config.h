/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_PLUGIN_CONFIG_H
#define THINBD_PLUGIN_CONFIG_H

/* The plugin's key=value parameters. */

#include "thinbd.h"

#define CONFIG_HELP                                                                      \
	"pool=DIR                   The pool's folder (made by `thinbd init`).\n"        \
	"volume=NAME                The volume that export \"\" stands for.\n"           \
	"\n"                                                                             \
	"One volume of a pool that something else made:\n"                               \
	"metadata=PATH    (required) The pool's metadata device.\n"                      \
	"data=PATH        (required) Its data device, or an NBD URI.\n"                  \
	"device=ID        (required) dm-thin's device id.\n"                             \
	"size=SIZE        (required) Size of the volume.\n"                              \
	"origin=ORIGIN               External origin: path or NBD URI.\n"                \
	"block-size=SIZE             Must be the pool's; checked if given."

/*
 * Take one parameter.  Returns 0, or -1 after nbdkit_error(): an unknown
 * key, a malformed value, a key given twice.
 */
int config_set(const char *key, const char *value);

/* Are they complete, and of one style?  0, or -1 after nbdkit_error(). */
int config_check(void);

/* What they came to; the strings live until config_free(). */
const struct thinbd_params *config_params(void);
void config_free(void);

#endif
