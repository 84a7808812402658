/* The few calls of the WSTP C binding that the programs here use, declared from its public documentation.
 *
 * The vendor's own header serves as well; this one lets the programs be compiled where only the library is
 * installed, and, with -DUSE_ML, against a library from before the names changed from ML... to WS....
 */
#ifndef WSTP_MIN_H
#define WSTP_MIN_H

#ifdef USE_ML
#define WSInitialize MLInitialize
#define WSDeinitialize MLDeinitialize
#define WSOpenArgcArgv MLOpenArgcArgv
#define WSOpenString MLOpenString
#define WSActivate MLActivate
#define WSClose MLClose
#define WSLinkName MLLinkName
#define WSError MLError
#define WSErrorMessage MLErrorMessage
#define WSReady MLReady
#define WSFlush MLFlush
#define WSNextPacket MLNextPacket
#define WSNewPacket MLNewPacket
#define WSEndPacket MLEndPacket
#define WSGetNext MLGetNext
#define WSGetArgCount MLGetArgCount
#define WSGetInteger MLGetInteger
#define WSGetInteger32 MLGetInteger32
#define WSGetInteger64 MLGetInteger64
#define WSGetReal64 MLGetReal64
#define WSGetReal64List MLGetReal64List
#define WSReleaseReal64List MLReleaseReal64List
#define WSGetUTF8String MLGetUTF8String
#define WSReleaseUTF8String MLReleaseUTF8String
#define WSGetUTF8Symbol MLGetUTF8Symbol
#define WSReleaseUTF8Symbol MLReleaseUTF8Symbol
#define WSPutFunction MLPutFunction
#define WSPutSymbol MLPutSymbol
#define WSPutInteger MLPutInteger
#define WSPutInteger32 MLPutInteger32
#define WSPutInteger64 MLPutInteger64
#define WSPutReal64List MLPutReal64List
#define WSPutUTF8String MLPutUTF8String
#define WSTransferExpression MLTransferExpression
#define WSPutMessage MLPutMessage
#define WSSetMessageHandler MLSetMessageHandler
#endif

typedef struct wstp_environment *WSENV;
typedef struct wstp_link *WSLINK;
typedef long long wsint64;

enum { WSEOK = 0, WSECLOSED = 11 };

enum { /* what WSNextPacket returns */
    ILLEGALPKT = 0, INPUTPKT = 1, TEXTPKT = 2, RETURNPKT = 3, RETURNTEXTPKT = 4, MESSAGEPKT = 5, MENUPKT = 6,
    CALLPKT = 7, INPUTNAMEPKT = 8, OUTPUTNAMEPKT = 9, SYNTAXPKT = 10, EVALUATEPKT = 13, ENTERTEXTPKT = 14,
    ENTEREXPRPKT = 15, RETURNEXPRPKT = 16, INPUTSTRPKT = 21
};

enum { /* what WSGetNext returns */
    WSTKERR = 0, WSTKSTR = '"', WSTKSYM = '#', WSTKREAL = '*', WSTKINT = '+', WSTKFUNC = 'F'
};

enum { WSTerminateMessage = 1, WSInterruptMessage = 2, WSAbortMessage = 3 };

extern WSENV WSInitialize(void *parameters);
extern void WSDeinitialize(WSENV environment);
extern WSLINK WSOpenArgcArgv(WSENV environment, int argc, char **argv, int *error);
extern WSLINK WSOpenString(WSENV environment, const char *options, int *error);
extern int WSActivate(WSLINK link);
extern void WSClose(WSLINK link);
extern const char *WSLinkName(WSLINK link);
extern int WSError(WSLINK link);
extern const char *WSErrorMessage(WSLINK link);
extern int WSReady(WSLINK link);
extern int WSFlush(WSLINK link);
extern int WSNextPacket(WSLINK link);
extern int WSNewPacket(WSLINK link);
extern int WSEndPacket(WSLINK link);
extern int WSGetNext(WSLINK link);
extern int WSGetArgCount(WSLINK link, int *arguments);
extern int WSGetInteger(WSLINK link, int *value);
extern int WSGetInteger32(WSLINK link, int *value);
extern int WSGetInteger64(WSLINK link, wsint64 *value);
extern int WSGetReal64(WSLINK link, double *value);
extern int WSGetReal64List(WSLINK link, double **values, int *count);
extern void WSReleaseReal64List(WSLINK link, double *values, int count);
extern int WSGetUTF8String(WSLINK link, const unsigned char **text, int *bytes, int *characters);
extern void WSReleaseUTF8String(WSLINK link, const unsigned char *text, int bytes);
extern int WSGetUTF8Symbol(WSLINK link, const unsigned char **text, int *bytes, int *characters);
extern void WSReleaseUTF8Symbol(WSLINK link, const unsigned char *text, int bytes);
extern int WSPutFunction(WSLINK link, const char *name, int arguments);
extern int WSPutSymbol(WSLINK link, const char *name);
extern int WSPutInteger(WSLINK link, int value);
extern int WSPutInteger32(WSLINK link, int value);
extern int WSPutInteger64(WSLINK link, wsint64 value);
extern int WSPutReal64List(WSLINK link, const double *values, int count);
extern int WSPutUTF8String(WSLINK link, const unsigned char *text, int bytes);
extern int WSTransferExpression(WSLINK destination, WSLINK source);
extern int WSPutMessage(WSLINK link, int code);
extern int WSSetMessageHandler(WSLINK link, void (*handler)(WSLINK link, int code, int argument));

#endif
