/* SPDX-License-Identifier: MIT
 *
 * The JSON Schema of the report, as it stands in doc/: a file that editors and validators can read, put into
 * the program as it is, so that there is only one. (The Makefile says that this object depends on it.)
 */
#include "report_schema.h"

__asm__(".pushsection .rodata\n"
	".global schema_report\n"
	".type schema_report, %object\n"
	"schema_report:\n"
	".incbin \"doc/report.schema.json\"\n"
	".byte 0\n"
	".size schema_report, . - schema_report\n"
	".popsection\n");
