"""The process's limit of open files, which connections count towards."""

import resource


def raise_open_files_limit(wanted: int) -> int:
    """Allow so many open files, or as many as the system lets; how many there may be now."""
    files, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= wanted:
        return wanted
    files = wanted if max_files == resource.RLIM_INFINITY else min(wanted, max_files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max_files))
    return files
