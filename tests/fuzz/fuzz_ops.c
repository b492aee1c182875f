/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "../model/rounds.h"

/*
 * Operations on a small pool, chosen by the input, against the model
 * (tests/model): every answer and every byte read is compared, crashes are
 * among the operations, each commit is audited, and the ordering monitor
 * listens.  Fails by abort().
 */

#define MAX_BYTES 600u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t none;

	round_by_bytes(size ? data : &none, size < MAX_BYTES ? size : MAX_BYTES);
	return 0;
}
