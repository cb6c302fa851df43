package testarchive

// The tables for names. Each has a power of two of entries, so that a few bits of a random number choose one; the first are likelier.

var namespaces = [16]string{
	"mozilla::", "mozilla::dom::", "js::", "js::jit::", "mozilla::layers::", "mozilla::gfx::", "std::__1::", "mozilla::net::",
	"mozilla::ipc::", "webrtc::", "mozilla::a11y::", "angle::", "mozilla::image::", "sh::", "mozilla::psm::", "blink::",
}

var stems = [64]string{
	"Frame", "Document", "Element", "Layer", "Buffer", "Channel", "Stream", "Node", "Style", "Event", "Listener", "Request",
	"Window", "Context", "Table", "Cache", "Surface", "Texture", "Parser", "Script", "Object", "String", "Array", "Handler",
	"Session", "Thread", "Manager", "Service", "Loader", "Image", "Decoder", "Encoder", "Track", "Media", "Audio", "Video",
	"Worker", "Promise", "Module", "Compiler", "Register", "Instruction", "Block", "Graph", "Animation", "Transform", "Matrix",
	"Region", "Cursor", "Selection", "Editor", "History", "Storage", "Database", "Transaction", "Index", "Key", "Certificate",
	"Socket", "Address", "Header", "Cookie", "Principal", "Permission",
}

var suffixes = [16]string{
	"", "Base", "Impl", "Child", "Parent", "List", "Builder", "Observer", "Data", "Info", "Runnable", "Proxy", "Map", "Set",
	"Iterator", "Traits",
}

var verbs = [32]string{
	"Get", "Set", "Init", "Create", "Destroy", "Update", "Add", "Remove", "Is", "Has", "On", "Handle", "Process", "Begin", "End",
	"Notify", "Compute", "Find", "Append", "Clear", "Read", "Write", "Open", "Close", "Start", "Stop", "Resolve", "Reject",
	"Dispatch", "Register", "Schedule", "Visit",
}

var arguments = [32]string{
	"()", "() const", "(unsigned int)", "(bool)", "(int, int)", "(void*)", "(nsTSubstring<char16_t> const&)", "(JSContext*)",
	"(JSContext*, JS::Handle<JSObject*>)", "(nsISupports*)", "(nsTSubstring<char> const&, bool)", "(unsigned long long)",
	"(JSContext*, unsigned int, JS::Value*)", "(mozilla::dom::Element*)", "(nsIFrame*, nsRect const&)", "(float, float)",
	"(mozilla::ErrorResult&)", "(nsCOMPtr<nsIRunnable>&&)", "(RefPtr<mozilla::dom::Promise>&&)", "(IPC::Message const&)",
	"(mozilla::gfx::IntRect const&, int)", "(char const*, unsigned long)", "(nsAtom*, int) const", "(JS::CallArgs const&)",
	"(mozilla::TimeStamp const&)", "(nsTArray<unsigned char>&)", "(mozilla::UniquePtr<char []>&&)", "(double) const",
	"(mozilla::Maybe<int> const&)", "(nsIChannel*, nsresult)", "(js::jit::MDefinition*)", "(nsIPrincipal*, nsIURI*)",
}

var directories = [32]string{
	"dom/base", "js/src/vm", "js/src/jit", "layout/generic", "gfx/layers", "dom/media", "netwerk/base", "xpcom/threads",
	"layout/style", "dom/canvas", "ipc/glue", "mfbt", "image/decoders", "dom/html", "security/manager/ssl", "netwerk/protocol/http",
	"dom/indexedDB", "editor/libeditor", "accessible/generic", "widget/gtk", "gfx/2d", "gfx/angle/src", "docshell/base", "dom/svg",
	"dom/workers", "media/webrtc/trunk", "modules/libpref", "parser/html", "storage", "toolkit/components", "uriloader/base", "view/src",
}

// What calling conventions leave on the stack, as dump_syms writes it for x86-64; %rsp moves by 8 with each. Offsets are from the
// function's start.
var cfiRows = [8]struct {
	offset uint64
	rule   string
}{
	{1, " .cfa: $rsp 16 + $rbp: .cfa -16 + ^\n"},
	{4, " .cfa: $rbp 16 +\n"},
	{6, " .cfa: $rsp 24 + $r15: .cfa -24 + ^\n"},
	{8, " .cfa: $rsp 32 + $r14: .cfa -32 + ^\n"},
	{10, " .cfa: $rsp 40 + $r13: .cfa -40 + ^\n"},
	{12, " .cfa: $rsp 48 + $r12: .cfa -48 + ^\n"},
	{13, " .cfa: $rsp 56 + $rbx: .cfa -56 + ^\n"},
	{20, " .cfa: $rsp 8 +\n"},
}

// lineBytes are lengths of a source line's machine code.
var lineBytes = [16]uint64{3, 4, 5, 7, 8, 2, 3, 5, 10, 12, 4, 8, 15, 6, 20, 33}

// lineSteps are distances between source lines of successive machine code.
var lineSteps = [16]int64{1, 1, 1, 1, 2, 2, 1, 3, -1, 1, 4, -2, 1, 5, 8, -5}
