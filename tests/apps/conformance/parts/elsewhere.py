"""Functions in a folder of their own: the worker calls it their directory."""

import azure.functions as func

elsewhere = func.Blueprint()


@elsewhere.route(route="elsewhere")
async def in_parts(req: func.HttpRequest, context: func.Context) -> str:
    return context.function_directory
