/* SPDX-License-Identifier: MIT
 *
 * What a native symbol is to a Python programmer: the evaluation loop (its place is taken by Python frames),
 * one of the interpreter's ways of getting from a call or an operator to the function that does the work, the
 * interpreter's own work, or somebody's extension. One table; `*` at the end stands for anything.
 */
#include "cli/interp/python.h"
#include "cli/util.h"

struct rule {
	const char *symbol;
	enum frame_origin origin;
};

static const struct rule rules[] = {
	/* the loop, and what is only ever its wrapper */
	{"_PyEval_EvalFrameDefault", ORIGIN_EVAL},
	{"_PyEval_EvalFrame", ORIGIN_EVAL},
	{"PyEval_EvalFrameEx", ORIGIN_EVAL},
	{"PyEval_EvalFrame", ORIGIN_EVAL},
	{"_TAIL_CALL_*", ORIGIN_EVAL}, /* 3.14: one function for each instruction */

	/* the collector: what an allocation, the evaluation loop (3.12 on) or gc.collect() calls */
	{"gc_collect*", ORIGIN_COLLECTOR},
	{"collect", ORIGIN_COLLECTOR}, /* to 3.8, with the next two */
	{"collect_with_callback", ORIGIN_COLLECTOR},
	{"collect_generations", ORIGIN_COLLECTOR},
	{"_PyGC_Collect*", ORIGIN_COLLECTOR},
	{"PyGC_Collect", ORIGIN_COLLECTOR},
	{"_Py_RunGC", ORIGIN_COLLECTOR},

	/* from a call to the callee */
	{"_PyEval_Vector", ORIGIN_DISPATCH},
	{"_PyEval_EvalCode*", ORIGIN_DISPATCH},
	{"PyEval_EvalCode*", ORIGIN_DISPATCH},
	{"_PyFunction_Vectorcall*", ORIGIN_DISPATCH},
	{"_PyFunction_FastCall*", ORIGIN_DISPATCH},
	{"function_code_fastcall", ORIGIN_DISPATCH},
	{"PyObject_Vectorcall*", ORIGIN_DISPATCH},
	{"PyObject_VectorcallMethod", ORIGIN_DISPATCH},
	{"_PyObject_Vectorcall*", ORIGIN_DISPATCH},
	{"_PyObject_VectorcallTstate*", ORIGIN_DISPATCH},
	{"PyVectorcall_*", ORIGIN_DISPATCH},
	{"_Py_*_StackRefSteal", ORIGIN_DISPATCH}, /* 3.15: a call, an attribute, from the loop's own stack */
	{"_PyCallMethodDescriptor*", ORIGIN_DISPATCH},
	{"_PyVectorcall_*", ORIGIN_DISPATCH},
	{"PyObject_Call*", ORIGIN_DISPATCH},
	{"_PyObject_Call*", ORIGIN_DISPATCH},
	{"_PyObject_MakeTpCall", ORIGIN_DISPATCH},
	{"_PyObject_FastCall*", ORIGIN_DISPATCH},
	{"PyObject_FastCall*", ORIGIN_DISPATCH},
	{"object_vacall", ORIGIN_DISPATCH},
	{"_PyStack_*", ORIGIN_DISPATCH},
	{"PyCFunction_Call", ORIGIN_DISPATCH},
	{"cfunction_*", ORIGIN_DISPATCH},
	{"_PyCFunction_*", ORIGIN_DISPATCH},
	{"_PyMethodDef_Raw*", ORIGIN_DISPATCH},
	{"_PyMethodDescr_*", ORIGIN_DISPATCH},
	{"method_vectorcall*", ORIGIN_DISPATCH},
	{"method_call", ORIGIN_DISPATCH},
	{"methoddescr_call", ORIGIN_DISPATCH},
	{"classmethoddescr_call", ORIGIN_DISPATCH},
	{"slot_*", ORIGIN_DISPATCH},
	{"wrap_*", ORIGIN_DISPATCH},
	{"wrapper_call", ORIGIN_DISPATCH},
	{"wrapperdescr_*", ORIGIN_DISPATCH},
	{"vectorcall_*", ORIGIN_DISPATCH},
	{"call_function*", ORIGIN_DISPATCH},
	{"call_method*", ORIGIN_DISPATCH},
	{"call_unbound*", ORIGIN_DISPATCH},
	{"call_attribute", ORIGIN_DISPATCH},
	{"do_call_core*", ORIGIN_DISPATCH},
	{"trace_call_function", ORIGIN_DISPATCH},
	{"lookup_maybe_method", ORIGIN_DISPATCH},
	{"type_call", ORIGIN_DISPATCH},
	{"type_vectorcall", ORIGIN_DISPATCH},
	{"property_descr_get", ORIGIN_DISPATCH},
	{"gen_send_ex*", ORIGIN_DISPATCH},
	{"gen_iternext", ORIGIN_DISPATCH},
	{"gen_send", ORIGIN_DISPATCH},
	{"_PyGen_Send", ORIGIN_DISPATCH},
	{"PyGen_am_send", ORIGIN_DISPATCH},
	{"PyIter_Send", ORIGIN_DISPATCH},
	{"context_run", ORIGIN_DISPATCH},
	{"builtin___build_class__", ORIGIN_DISPATCH},
	{"builtin_exec*", ORIGIN_DISPATCH},
	{"builtin_eval*", ORIGIN_DISPATCH},
	{"run_mod*", ORIGIN_DISPATCH},
	{"run_eval_code_obj*", ORIGIN_DISPATCH},

	/* from an operator to the type that has it */
	{"PyNumber_*", ORIGIN_DISPATCH},
	{"_PyNumber_*", ORIGIN_DISPATCH},
	{"binary_op*", ORIGIN_DISPATCH},
	{"binary_iop*", ORIGIN_DISPATCH},
	{"ternary_op*", ORIGIN_DISPATCH},
	{"ternary_iop*", ORIGIN_DISPATCH},
	{"PyObject_*Item*", ORIGIN_DISPATCH},
	{"PyObject_*Attr*", ORIGIN_DISPATCH},
	{"_PyObject_*Attr*", ORIGIN_DISPATCH},
	{"_PyObject_GetMethod", ORIGIN_DISPATCH},
	{"PyObject_RichCompare*", ORIGIN_DISPATCH},
	{"do_richcompare", ORIGIN_DISPATCH},
	{"PyObject_Hash*", ORIGIN_DISPATCH},
	{"PyObject_Str", ORIGIN_DISPATCH},
	{"PyObject_Repr", ORIGIN_DISPATCH},
	{"PyObject_Format", ORIGIN_DISPATCH},
	{"PyObject_IsTrue", ORIGIN_DISPATCH},
	{"PyObject_Not", ORIGIN_DISPATCH},
	{"PyObject_Size", ORIGIN_DISPATCH},
	{"PyObject_Length*", ORIGIN_DISPATCH},
	{"PyObject_GetIter", ORIGIN_DISPATCH},
	{"PyIter_Next*", ORIGIN_DISPATCH},
	{"PySequence_*", ORIGIN_DISPATCH},
	{"PyMapping_*", ORIGIN_DISPATCH},
	{"cmp_outcome", ORIGIN_DISPATCH},
	{"object_*item*", ORIGIN_DISPATCH},

	/* built-in functions whose whole body is one such operator */
	{"builtin_pow*", ORIGIN_DISPATCH},
	{"builtin_divmod*", ORIGIN_DISPATCH},
	{"builtin_abs", ORIGIN_DISPATCH},
	{"builtin_len", ORIGIN_DISPATCH},
	{"builtin_hash", ORIGIN_DISPATCH},
	{"builtin_repr", ORIGIN_DISPATCH},
	{"builtin_format*", ORIGIN_DISPATCH},
	{"builtin_next", ORIGIN_DISPATCH},
	{"builtin_iter", ORIGIN_DISPATCH},
	{"builtin_getattr*", ORIGIN_DISPATCH},
	{"builtin_setattr*", ORIGIN_DISPATCH},
};

/* One `*` anywhere in a pattern. What compilers add to a name (.cold, .constprop.0, .lto_priv.0, .isra.0)
 * begins with a dot, which C names have not. */
static bool symbol_match(const char *pattern, const char *name, size_t length)
{
	const char *star = strchr(pattern, '*');
	size_t n = strlen(pattern);
	if (!star)
		return n == length && !memcmp(pattern, name, n);
	size_t before = (size_t)(star - pattern), after = n - before - 1;
	if (length < before || memcmp(pattern, name, before))
		return false;
	if (!after)
		return true;
	for (size_t i = before; i + after <= length; i++)
		if (!memcmp(star + 1, name + i, after))
			return true;
	return false;
}

static bool is_interpreter(const char *module)
{
	return !strncmp(module, "libpython", 9) || !strncmp(module, "python", 6);
}

static bool is_system(const char *module)
{
	static const char *const names[] = {
		"libc.so",  "libc-2.",	  "libc.musl",	"ld-linux",	  "ld-2.",     "ld-musl",
		"ld.so",    "libpthread", "libm.so",	"libm-2.",	  "libdl",     "librt.so",
		"librt-2.", "[vdso]",	  "linux-vdso", "libwhystall.so", "[vsyscall]"};
	for (size_t i = 0; i < LENGTH(names); i++)
		if (!strncmp(module, names[i], strlen(names[i])))
			return true;
	return false;
}

enum frame_origin python_native_origin(const char *symbol, const char *module)
{
	const char *name = symbol ? symbol : "", *base = module ? module : "";
	size_t length = strcspn(name, ".");
	if (is_system(base))
		return ORIGIN_RUNTIME;
	/* an extension's wrap_something is its own; but an interpreter may be embedded under any name, and
	 * these names are reserved to it */
	if (is_interpreter(base) || !strncmp(name, "_Py", 3) || !strncmp(name, "Py", 2))
		for (size_t i = 0; i < LENGTH(rules); i++)
			if (symbol_match(rules[i].symbol, name, length))
				return rules[i].origin;
	return is_interpreter(base) ? ORIGIN_RUNTIME : ORIGIN_USER;
}
