/* SPDX-License-Identifier: MIT
 *
 * A program with a Python in it: embed PYTHON-SCRIPT [ARG...]. For tests/case/test_interp_embedded.py, which
 * links it in each way that there is.
 */
#include <Python.h>

int main(int argc, char **argv)
{
	PyConfig config;
	PyConfig_InitPythonConfig(&config);
	PyStatus status = PyConfig_SetBytesArgv(&config, argc, argv);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status))
		return 3;
	return Py_RunMain();
}
